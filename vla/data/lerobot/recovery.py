"""Makes episodes of journals whose recorder is gone: because it finished, or because it died."""

from __future__ import annotations

import fcntl
import logging
import os
import shutil
from contextlib import ExitStack
from pathlib import Path

from vla.data.lerobot.disk import locked
from vla.data.lerobot.errors import DatasetError
from vla.data.lerobot.journal import HELD, read_journal
from vla.data.lerobot.layout import INFO, JOURNALS, LOCK
from vla.data.lerobot.rows import read_metadata
from vla.data.lerobot.writer import DatasetWriter

LOG = logging.getLogger(__name__)


def finish_journals(writer: DatasetWriter) -> list[int]:
    """Add every journal of a dataset that nobody writes any more, and remove it. Safe against a kill at any byte.

    Returns:
        The indices of the new episodes.

    Raises:
        DatasetError: a journal is damaged, or its episode does not fit the dataset; it stays where it is.
    """
    added = []
    with ExitStack() as held:  # whatever happens, nothing stays locked in this process
        for folder in _claim(writer.root, held):
            if folder.name in _recorded(writer.root):
                LOG.info("%s: the episode is in the dataset already", folder)
            elif (episode := read_journal(folder)) is None:
                LOG.info("%s: no whole frame was recorded", folder)
            else:
                added.append(writer.add_encoded(episode))
            with locked(writer.root / LOCK):  # else others might claim what is half removed
                shutil.rmtree(folder)
    return added


def recover(root: str | Path) -> list[int]:
    """The same for whoever is about to read the dataset. Nothing is touched if there is no such journal.

    Raises:
        DatasetError: see `finish_journals`; or the folder cannot be written to.
    """
    root = Path(root)
    if not any((root / JOURNALS).glob("*")):
        return []
    try:
        added = finish_journals(DatasetWriter(root))
    except OSError as error:
        raise DatasetError(f"{root}: a recording was cut off and must be finished, but: {error}.") from error
    for index in added:
        LOG.warning("%s: episode %d was cut off; it is there up to its last whole step", root, index)
    return added


def _claim(root: Path, held: ExitStack) -> list[Path]:
    """Journals without a living recorder; `held` has the locks that are now ours."""
    claimed = []
    with locked(root / LOCK):
        for folder in sorted((root / JOURNALS).glob("*")):
            if not folder.is_dir():
                continue
            lock = os.open(folder / HELD, os.O_RDWR | os.O_CREAT, 0o644)
            held.callback(os.close, lock)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                continue
            claimed.append(folder)
    return claimed


def _recorded(root: Path) -> set[str]:
    """Journals that became episodes before somebody could remove them."""
    if not (root / INFO).exists():
        return set()
    return {str(metadata["journal"]) for metadata in read_metadata(root) if "journal" in metadata}
