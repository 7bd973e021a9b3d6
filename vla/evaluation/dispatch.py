"""Which episode a free worker gets next: building an environment is slow, so workers stay on their task."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable

from vla.evaluation.plan import EpisodeKey


class Dispatcher:
    """Hands out episodes. The order is never part of a result, only of the time a run takes."""

    def __init__(self, keys: Iterable[EpisodeKey]) -> None:
        self._waiting: dict[int, deque[EpisodeKey]] = {}
        for key in keys:
            self._waiting.setdefault(key.task_id, deque()).append(key)
        self._touched: set[int] = set()

    def __len__(self) -> int:
        """Episodes not handed out."""
        return sum(map(len, self._waiting.values()))

    def next(self, current_task: int | None) -> EpisodeKey | None:
        """The next trial of the current task, else of an untouched task, else of the one with most left."""
        left = {task: len(queue) for task, queue in self._waiting.items() if queue}
        if not left:
            return None
        if current_task in left:
            task = current_task
        else:
            untouched = (task for task in left if task not in self._touched)
            task = next(untouched, max(left, key=left.__getitem__))
        self._touched.add(task)
        return self._waiting[task].popleft()

    def put_back(self, key: EpisodeKey) -> None:
        """Hand this one out again: the worker that had it died."""
        self._waiting[key.task_id].appendleft(key)
