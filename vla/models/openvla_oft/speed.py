"""How long a query takes, and where the time goes, for the ways of decoding.

One after the other, each number of an action costs a pass of the trunk over one word; in parallel, a whole chunk costs
one pass over all slots. A pass over one word is bound by reading the weights (on a GPU) or by the many small
operations (for a small network on a CPU), not by arithmetic: that is where the factor comes from.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from vla.models.openvla_oft.config import HeadConfig, MaskMode, ModelConfig, TowerConfig, TrunkConfig
from vla.models.openvla_oft.model import Inputs, OpenVLAOFT

REDUCED = ModelConfig(
    images=1,
    state_dim=0,
    dino=TowerConfig(width=128, depth=4, heads=4, mlp_width=512, registers=4, layer_scale=True, image_size=56),
    siglip=TowerConfig(width=144, depth=4, heads=4, mlp_width=538, image_size=56),
    trunk=TrunkConfig(width=256, depth=24, heads=4, key_value_heads=4, mlp_width=688),
)


@dataclass(frozen=True)
class Decoding:
    """A way of decoding, as changes to a network."""

    name: str
    chunk: int
    head: HeadConfig
    mask: MaskMode = MaskMode.BIDIRECTIONAL

    def of(self, config: ModelConfig) -> ModelConfig:
        """The network that decodes in this way."""
        return dataclasses.replace(config, chunk=self.chunk, head=self.head, mask=self.mask)


def decodings(chunk: int) -> list[Decoding]:
    """The rows of the paper's table III, and flow matching."""
    one_by_one = HeadConfig("discrete", {"parallel": False})
    return [
        Decoding("one word after the other, 1 action", 1, one_by_one, MaskMode.CAUSAL),
        Decoding("parallel words, 1 action", 1, HeadConfig("discrete")),
        Decoding(f"parallel words, {chunk} actions", chunk, HeadConfig("discrete")),
        Decoding(f"L1, {chunk} actions", chunk, HeadConfig("l1")),
        Decoding(f"diffusion 50 steps, {chunk} actions", chunk, HeadConfig("diffusion")),
        Decoding(f"diffusion 5 steps, {chunk} actions", chunk, HeadConfig("diffusion", {"steps": 5})),
        Decoding(f"flow 5 steps, {chunk} actions", chunk, HeadConfig("flow")),
    ]


@dataclass(frozen=True)
class Cost:
    """What a query costs, the fastest of several.

    Attributes:
        seconds: [s] a query.
        actions: actions it gives.
        parts: [s] in the towers, the trunk, and the maps to words and actions.
        passes: of the trunk.
    """

    seconds: float
    actions: int
    parts: dict[str, float]
    passes: int


@torch.no_grad()
def measure(model: OpenVLAOFT, inputs: Inputs, repeats: int = 3) -> Cost:
    """Time a query of one observation."""
    model(inputs)
    costs = []
    for _ in range(repeats):
        with _clocks(model) as (parts, passes):
            started = _now(inputs.pixels)
            model(inputs)
            seconds = _now(inputs.pixels) - started
        costs.append(Cost(seconds, model.config.chunk, dict(parts), passes["trunk"]))
    return min(costs, key=lambda cost: cost.seconds)


def _now(tensor: Tensor) -> float:
    if tensor.is_cuda:
        torch.cuda.synchronize(tensor.device)
    return time.perf_counter()


@contextmanager
def _clocks(model: OpenVLAOFT) -> Iterator[tuple[dict[str, float], dict[str, int]]]:
    """Time spent in, and calls of, the towers, the trunk, and the maps to words and actions."""
    parts: dict[str, Sequence[nn.Module]] = {
        "towers": [model.vision_backbone, model.projector],
        "trunk": [model.language_model.model],
        "out": [model.language_model.lm_head, *(m for n, m in model.action_head.named_children() if n == "mlp")],
    }
    seconds, calls = dict.fromkeys(parts, 0.0), dict.fromkeys(parts, 0)
    handles = []

    def watch(part: str, module: nn.Module) -> None:
        started = [0.0]

        def before(_: nn.Module, arguments: tuple[Tensor, ...]) -> None:
            started[0] = _now(arguments[0])

        def after(_: nn.Module, __: object, result: Tensor) -> None:
            seconds[part] += _now(result) - started[0]
            calls[part] += 1

        handles.extend([module.register_forward_pre_hook(before), module.register_forward_hook(after)])

    for part, modules in parts.items():
        for module in modules:
            watch(part, module)
    try:
        yield seconds, calls
    finally:
        for handle in handles:
            handle.remove()


def random_inputs(config: ModelConfig, words: int = 35) -> Inputs:
    """One observation of noise, on the CPU, with a prompt of `words` ids (35 is usual for LIBERO)."""
    size = config.dino.image_size
    return Inputs(
        torch.randn(1, config.images, 6, size, size),
        torch.randint(3, 20000, (1, words)),
        torch.tensor([words]),
        torch.zeros(1, config.state_dim) if config.state_dim else None,
    )


def compare(config: ModelConfig, chunk: int = 8, repeats: int = 3) -> dict[str, Cost]:
    """Time every way of decoding on one network with random weights."""
    costs = {}
    for decoding in decodings(chunk):
        torch.manual_seed(0)
        model = OpenVLAOFT(decoding.of(config)).eval()
        costs[decoding.name] = measure(model, random_inputs(config), repeats)
    return costs


def table(costs: dict[str, Cost]) -> str:
    """Markdown; the first row is what the others are compared with."""
    slowest = next(iter(costs.values()))
    rows = ["| decoding | ms a query | actions/s | factor | trunk passes | towers ms | trunk ms | out ms |"]
    rows.append("|---" * 8 + "|")
    for name, cost in costs.items():
        rate = cost.actions / cost.seconds
        parts = " | ".join(f"{1e3 * cost.parts[part]:.1f}" for part in ("towers", "trunk", "out"))
        factor = rate * slowest.seconds / slowest.actions
        rows.append(f"| {name} | {1e3 * cost.seconds:.1f} | {rate:.1f} | {factor:.1f} | {cost.passes} | {parts} |")
    return "\n".join(rows)
