"""What the small policy costs: a chunk, the loop around it, and the stock loop with it.

`python scripts/bench_mini.py [checkpoint] [suite:task,...] [trials]`
"""

import functools
import sys

import torch

from envs.libero.policy_speed import compare
from vla.policies.mini import MiniPolicy
from vla.runtime.speed import chunk_ms, loop_ms

TASKS = "libero_object:2,libero_goal:8"


def main(checkpoint: str = "checkpoints/mini", tasks: str = TASKS, trials: str = "3") -> None:
    """Print the three measurements."""
    for threads in (1, 2):
        torch.set_num_threads(threads)
        print(f"one chunk, {threads} threads: median {chunk_ms(MiniPolicy(checkpoint)):.1f} ms")
    print(f"the loop, executor and limits around a step: median {loop_ms():.3f} ms")
    torch.set_num_threads(1)
    for suite, task in (name.split(":") for name in tasks.split(",")):
        found = compare(suite, int(task), int(trials), functools.partial(MiniPolicy, checkpoint))
        seconds = {side: sum(episode.seconds for episode in episodes) for side, episodes in found.items()}
        same = [(a.steps, a.success) == (b.steps, b.success) for a, b in zip(*found.values(), strict=True)]
        print(
            f"{suite} task {task}, {trials} trials: stock {seconds['stock']:.1f} s, ours {seconds['ours']:.1f} s: "
            f"{seconds['stock'] / seconds['ours']:.1f}x; same steps and success in {sum(same)} of {len(same)}"
        )


if __name__ == "__main__":
    main(*sys.argv[1:])
