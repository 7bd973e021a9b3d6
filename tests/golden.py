"""Golden cases of OpenVLA-OFT: folders with a config.json that hold numbers of the official implementation.

Looked for under tests/data/oft_golden and under the folder that the environment variable OFT_GOLDEN_DIR names.
Whatever a case switches on is read from its config and its tensors, nothing from its name.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor

from vla.models.openvla_oft.config import HeadConfig, ModelConfig, TowerConfig
from vla.models.openvla_oft.model import Inputs, OpenVLAOFT
from vla.models.openvla_oft.names import COMPONENTS, component_name, head_kind, model_name
from vla.models.openvla_oft.read_official import trunk_config
from vla.models.openvla_oft.sequence import EMPTY_ID
from vla.models.openvla_oft.weights import load_model, lora_merged, memory_tensor, merge_tables, renamed

DATA = Path(__file__).parent / "data" / "oft_golden"
FOLDERS = [DATA, *(Path(extra) for extra in [os.environ.get("OFT_GOLDEN_DIR")] if extra)]
EMBEDDINGS = "language_model.model.embed_tokens.weight"
WORDS = "language_model.lm_head.weight"


@dataclass(frozen=True)
class Case:
    folder: Path

    @cached_property
    def config(self) -> dict:
        return json.loads((self.folder / "config.json").read_text())

    @cached_property
    def io(self) -> dict[str, Tensor]:
        return load_file(self.folder / "io.safetensors")

    @property
    def training(self) -> bool:
        return self.config.get("mode") == "train_forward"

    @property
    def dtype(self) -> torch.dtype:
        return getattr(torch, self.config.get("dtype", "float32").removeprefix("torch."))

    @property
    def head(self) -> str:
        """Judged by the head's tensors, as for a real checkpoint."""
        path = self.folder / "action_head.safetensors"
        return head_kind(list(load_file(path))) if path.exists() else "discrete"

    @property
    def steps(self) -> int:
        """Denoising steps at inference; 0 if it does not denoise."""
        if self.head != "diffusion":
            return 0
        return self.config.get("diffusion_inference_steps") or self.config["num_diffusion_steps_train"]

    def model_config(self) -> ModelConfig:
        config = self.config
        options = {}
        if self.head == "diffusion":
            options = {"trained_steps": config["num_diffusion_steps_train"], "steps": self.steps}
        return ModelConfig(
            images=config["num_images"],
            chunk=config["num_actions_chunk"],
            action_dim=config["action_dim"],
            state_dim=config["proprio_dim"] if config["use_proprio"] else 0,
            film=config["use_film"],
            head=HeadConfig(self.head, options),
            dino=tower(config["dino"], config["image_size"], layer_scale=True),
            siglip=tower(config["siglip"], config["image_size"], attention_pool=True),
            trunk=trunk_config(config["text_config"]),
        )

    def table(self):
        """All weights under our names, LoRA merged."""
        vocabulary = self.config["text_config"]["vocab_size"]
        tensors = {model_name(name): tensor for name, tensor in load_file(self.folder / "model.safetensors").items()}
        for name, rows in ((EMBEDDINGS, "embed_rows"), (WORDS, "lm_head_rows")):
            base = name.replace(".weight", ".base_layer.weight")
            if name not in tensors and base not in tensors:
                wrapped = any(key.startswith(name.replace(".weight", ".lora_")) for key in tensors)
                tensors[base if wrapped else name] = self._rows(rows, vocabulary)
        tables = [{name: memory_tensor(tensor, "model") for name, tensor in tensors.items()}]
        for part in COMPONENTS:
            if (path := self.folder / f"{part}.safetensors").exists():
                found = {name: memory_tensor(tensor, part) for name, tensor in load_file(path).items()}
                tables.append(renamed(found, lambda name, part=part: component_name(part, name)))
        scale = self.config.get("lora_alpha", 1) / self.config.get("lora_r", 1)
        return lora_merged(merge_tables(tables), scale)

    def _rows(self, name: str, vocabulary: int) -> Tensor:
        """A matrix of which some rows are given; the others are zero."""
        matrix = torch.zeros(vocabulary, self.config["text_config"]["hidden_size"], dtype=self.dtype)
        if name in self.io:
            matrix[self.io[f"{name}_ids"].long()] = self.io[name].to(self.dtype)
        return matrix

    def lora_tensors(self) -> dict[str, Tensor]:
        return {name: t for name, t in load_file(self.folder / "model.safetensors").items() if ".lora_" in name}

    def model(self, dtype: torch.dtype | None = None) -> OpenVLAOFT:
        return load_model(self.model_config(), self.table(), dtype or self.dtype).train(self.training)

    def inputs(self) -> Inputs:
        ids = self.io["input_ids"].long()  # (B, T)
        if self.training:
            lengths = (self.io["labels"] != -100).int().argmax(dim=1)  # the first action word ends the prompt
        else:
            if ids[0, -1] != EMPTY_ID:
                ids = torch.cat([ids, torch.full((len(ids), 1), EMPTY_ID)], dim=1)
            lengths = torch.full((len(ids),), ids.shape[1])
        pixels = self.io["pixel_values"].unflatten(1, (self.config["num_images"], 6))
        state = None
        if self.config["use_proprio"]:
            state = self.io["proprio"] if self.training else self.io["proprio_normalized"].reshape(len(ids), -1)
        return Inputs(pixels.to(self.dtype), ids, lengths, state)


def tower(values: dict, image_size: int, **switches: bool) -> TowerConfig:
    return TowerConfig(
        width=values["embed_dim"],
        depth=values["depth"],
        heads=values["num_heads"],
        mlp_width=int(values["embed_dim"] * values["mlp_ratio"]),
        registers=values.get("reg_tokens"),
        patch_size=values["patch"],
        norm_eps=values["eps"],
        image_size=image_size,
        **switches,
    )


def find_cases(folders: list[Path] = FOLDERS) -> list[Case]:
    cases = {}
    for folder in folders:
        for path in sorted(folder.rglob("config.json")):
            if "text_config" in json.loads(path.read_text()) and (path.parent / "io.safetensors").exists():
                cases.setdefault(path.parent.resolve(), Case(path.parent))
    return list(cases.values())
