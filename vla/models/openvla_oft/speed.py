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
from pathlib import Path

import torch
from torch import Tensor, nn

from vla.models.openvla_oft.config import HeadConfig, MaskMode, ModelConfig, TowerConfig, TrunkConfig
from vla.models.openvla_oft.model import Inputs, OpenVLAOFT
from vla.models.openvla_oft.weights import empty_model

_CLEAR = Path("/proc/self/clear_refs")

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
        peak_bytes: [bytes] the most that the process (on a GPU: torch) held during the query, weights included;
            None where the system does not tell.
    """

    seconds: float
    actions: int
    parts: dict[str, float]
    passes: int
    peak_bytes: int | None


@torch.no_grad()
def measure(models: dict[str, OpenVLAOFT], repeats: int = 3) -> dict[str, Cost]:
    """Time a query of one random observation by each model.

    The models take turns, so that whatever else the machine does slows all of them alike; the fastest turn counts.
    """
    inputs = {name: random_inputs(model.config) for name, model in models.items()}
    for name, model in models.items():
        model(inputs[name])
    turns: dict[str, list[Cost]] = {name: [] for name in models}
    for _ in range(repeats):
        for name, model in models.items():
            turns[name].append(_one_query(model, inputs[name]))
    return {name: min(costs, key=lambda cost: cost.seconds) for name, costs in turns.items()}


def _one_query(model: OpenVLAOFT, inputs: Inputs) -> Cost:
    with _clocks(model) as (parts, passes):
        _forget_peak(inputs.pixels)
        started = _now(inputs.pixels)
        model(inputs)
        seconds = _now(inputs.pixels) - started
    return Cost(seconds, model.config.chunk, dict(parts), passes["trunk"], _peak(inputs.pixels))


def _forget_peak(tensor: Tensor) -> None:
    """Start measuring peak memory anew."""
    if tensor.is_cuda:
        torch.cuda.reset_peak_memory_stats(tensor.device)
    elif _CLEAR.exists():
        _CLEAR.write_text("5")  # Linux: forget the resident set's peak


def _peak(tensor: Tensor) -> int | None:
    """[bytes] since `_forget_peak`; None where the system does not tell."""
    if tensor.is_cuda:
        return torch.cuda.max_memory_allocated(tensor.device)
    if not _CLEAR.exists():
        return None
    lines = _CLEAR.with_name("status").read_text().splitlines()
    return 1024 * int(next(line.split()[1] for line in lines if line.startswith("VmHWM")))


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


def compare(network: OpenVLAOFT, chunk: int = 8, repeats: int = 3, only: Sequence[str] = ()) -> dict[str, Cost]:
    """Time the ways of decoding on one network: towers and trunk are the same modules in all of them.

    Args:
        network: its own head is not used; every way gets a head of random weights, which does not change its speed.
        chunk: actions of a chunk.
        repeats: turns; the fastest counts.
        only: ways whose name contains one of these words; none: all.

    Raises:
        ValueError: no way has such a name.
    """
    chosen = [way for way in decodings(chunk) if not only or any(word in way.name for word in only)]
    if not chosen:
        raise ValueError(f"ways of decoding: none contains one of {list(only)}; {[w.name for w in decodings(chunk)]}")
    return measure({way.name: _with_head(network, way.of(network.config)) for way in chosen}, repeats)


@torch.no_grad()
def _with_head(network: OpenVLAOFT, config: ModelConfig) -> OpenVLAOFT:
    """The network with another head; everything else is shared, and never there twice."""
    model = empty_model(config)
    model.vision_backbone, model.projector = network.vision_backbone, network.projector
    model.language_model, model.proprio_projector = network.language_model, network.proprio_projector
    like = network.language_model.lm_head.weight
    for part in (model.action_head, model.noisy_action_projector):
        if part is not None:
            part.to_empty(device=like.device).to(like.dtype)
            for parameter in part.parameters():
                parameter.normal_(std=0.02)
    return model


def table(costs: dict[str, Cost]) -> str:
    """Markdown; the first row is what the others are compared with."""
    slowest = next(iter(costs.values()))
    head = "decoding | ms a query | actions/s | factor | trunk passes | towers ms | trunk ms | out ms | peak GB"
    rows = [f"| {head} |", "|---" * 9 + "|"]
    for name, cost in costs.items():
        rate = cost.actions / cost.seconds
        parts = " | ".join(f"{1e3 * cost.parts[part]:.1f}" for part in ("towers", "trunk", "out"))
        factor = rate * slowest.seconds / slowest.actions
        peak = "-" if cost.peak_bytes is None else f"{cost.peak_bytes / 1e9:.2f}"
        start = f"| {name} | {1e3 * cost.seconds:.1f} | {rate:.1f} | {factor:.1f}"
        rows.append(f"{start} | {cost.passes} | {parts} | {peak} |")
    return "\n".join(rows)
