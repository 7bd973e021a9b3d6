"""OpenVLA-OFT once more, slowly and from the specification: a second opinion for cases that nobody recorded.

It knows the official tensor names only, runs one sample after the other, applies LoRA beside the weights, writes
attention out and shares no line with `vla`. That it is right is tested on the recorded cases.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

ACTION_BEGIN, WORDS, IGNORED, EMPTY, STOP = 31743, 32000, -100, 29871, 2


class Reference:
    """One case: its config.json and its tensors under official names, the parts' with their part before them."""

    def __init__(self, config: dict, weights: dict[str, Tensor]) -> None:
        self.config, self.weights = config, weights
        self.text = config["text_config"]
        self.scale = config.get("lora_alpha", 1) / config.get("lora_r", 1)
        self.slots = config["num_actions_chunk"] * config["action_dim"]
        self.towers = "vision_backbone.vision_backbone." if config["use_film"] else "vision_backbone."

    # --- pieces ----------------------------------------------------------------------------------------------------

    def linear(self, name: str, x: Tensor) -> Tensor:
        table = self.weights
        base = name if f"{name}.weight" in table else f"{name}.base_layer"
        out = F.linear(x, table[f"{base}.weight"].flatten(1), table.get(f"{base}.bias"))
        if f"{name}.lora_A.default.weight" in table:
            down, up = (table[f"{name}.lora_{side}.default.weight"].flatten(1) for side in "AB")
            out = out + self.scale * F.linear(F.linear(x, down), up)
        return out

    def layer_norm(self, name: str, x: Tensor, eps: float) -> Tensor:
        return F.layer_norm(x, x.shape[-1:], self.weights[f"{name}.weight"], self.weights[f"{name}.bias"], eps)

    def rms_norm(self, name: str, x: Tensor) -> Tensor:
        precise = x.float()
        precise = precise / (precise.square().mean(-1, keepdim=True) + self.text["rms_norm_eps"]).sqrt()
        return self.weights[f"{name}.weight"] * precise.to(x.dtype)

    @staticmethod
    def attend(query: Tensor, key: Tensor, value: Tensor, real: Tensor | None = None) -> Tensor:
        """(heads, L, d) each -> (L, heads * d); everyone sees everyone who is real."""
        scores = query @ key.transpose(1, 2) / math.sqrt(query.shape[-1])
        if real is not None:
            scores = scores.masked_fill(~real, -torch.inf)
        return (scores.softmax(-1) @ value).transpose(0, 1).flatten(1)

    def two_layers(self, name: str, x: Tensor) -> Tensor:
        return self.linear(f"{name}.fc2", F.gelu(self.linear(f"{name}.fc1", x)))

    # --- vision ----------------------------------------------------------------------------------------------------

    def tower(self, name: str, sizes: dict, image: Tensor, words: Tensor | None) -> Tensor:
        """(3, H, W) -> (P, D)."""
        patch, eps = sizes["patch"], sizes["eps"]
        x = self.linear(f"{name}.patch_embed.proj", F.unfold(image[None], patch, stride=patch)[0].T)
        x = x + self.weights[f"{name}.pos_embed"][0]
        patches = len(x)
        if f"{name}.cls_token" in self.weights:
            x = torch.cat([self.weights[f"{name}.cls_token"][0], self.weights[f"{name}.reg_token"][0], x])
        for index in range(sizes["depth"] - 1):
            outer = f"{name}.blocks.{index}"
            block = f"{outer}.block" if words is not None else outer
            qkv = self.linear(f"{block}.attn.qkv", self.layer_norm(f"{block}.norm1", x, eps))
            heads = qkv.reshape(len(x), 3, sizes["num_heads"], -1).permute(1, 2, 0, 3)
            x = x + self.scaled(f"{block}.ls1", self.linear(f"{block}.attn.proj", self.attend(*heads)))
            if words is not None:
                x = x * (1 + self.linear(f"{outer}.scale", words)) + self.linear(f"{outer}.shift", words)
            x = x + self.scaled(
                f"{block}.ls2", self.two_layers(f"{block}.mlp", self.layer_norm(f"{block}.norm2", x, eps))
            )
        return x[-patches:]

    def scaled(self, name: str, x: Tensor) -> Tensor:
        factor = self.weights.get(f"{name}.scale_factor")
        return x if factor is None else x * factor

    def vision(self, pixels: Tensor, words: Tensor | None) -> Tensor:
        """(6 N, H, W) -> (N * P, D of both)."""
        images = []
        for image in pixels.split(6):
            one = self.tower(f"{self.towers}featurizer", self.config["dino"], image[:3], words)
            two = self.tower(f"{self.towers}fused_featurizer", self.config["siglip"], image[3:], words)
            images.append(torch.cat([one, two], dim=1))
        return torch.cat(images)

    def project(self, features: Tensor) -> Tensor:
        return self.linear("projector.fc3", F.gelu(self.two_layers("projector", features)))

    # --- language --------------------------------------------------------------------------------------------------

    def llama(self, x: Tensor, real: Tensor | None = None) -> Tensor:
        """(L, D) -> (L, D), after the final norm."""
        heads, length = self.text["num_attention_heads"], len(x)
        half = x.shape[1] // heads // 2
        angles = torch.arange(length)[:, None] * self.text["rope_theta"] ** (-torch.arange(half) / half)
        cos, sin = angles.cos().to(x.dtype), angles.sin().to(x.dtype)

        def turned(states: Tensor) -> Tensor:
            first, second = states.split(half, dim=-1)
            return torch.cat([first * cos - second * sin, second * cos + first * sin], dim=-1)

        for index in range(self.text["num_hidden_layers"]):
            layer = f"language_model.model.layers.{index}"
            normed = self.rms_norm(f"{layer}.input_layernorm", x)
            query, key, value = (
                self.linear(f"{layer}.self_attn.{part}_proj", normed).reshape(length, heads, -1).transpose(0, 1)
                for part in "qkv"
            )
            x = x + self.linear(f"{layer}.self_attn.o_proj", self.attend(turned(query), turned(key), value, real))
            normed = self.rms_norm(f"{layer}.post_attention_layernorm", x)
            gate, up = (self.linear(f"{layer}.mlp.{part}_proj", normed) for part in ("gate", "up"))
            x = x + self.linear(f"{layer}.mlp.down_proj", F.silu(gate) * up)
        return self.rms_norm("language_model.model.norm", x)

    def head(self, hidden: Tensor) -> Tensor:
        """(K * A, D) -> (K, A)."""
        mlp = "action_head.model" if self.config["head"] == "l1" else "action_head.noise_predictor.mlp_resnet"
        x = hidden.reshape(self.config["num_actions_chunk"], -1)
        x = self.linear(f"{mlp}.fc1", self.layer_norm(f"{mlp}.layer_norm1", x, 1e-5)).relu()
        for index in range(2):
            block = f"{mlp}.mlp_resnet_blocks.{index}.ffn"
            x = x + self.linear(f"{block}.1", self.layer_norm(f"{block}.0", x, 1e-5)).relu()
        return self.linear(f"{mlp}.fc2", self.layer_norm(f"{mlp}.layer_norm2", x, 1e-5))

    def clock(self, time: int) -> Tensor:
        """(1, D)."""
        half = self.text["hidden_size"] // 2
        angles = time * torch.exp(-math.log(10000.0) * torch.arange(half) / (half - 1))
        return torch.cat([angles.sin(), angles.cos()])[None]

    # --- a sample --------------------------------------------------------------------------------------------------

    def sequence(self, ids: Tensor, pixels: Tensor, state: Tensor | None, action: Tensor) -> tuple[Tensor, Tensor]:
        """Everything but the slots' content: embeddings (L, D) with empty slots, and where the slots are.

        Args:
            ids: (T,), of prompt, slots, stop and padding.
            action: (T,) bool, the slots among them.
        """
        embed = self.weights["language_model.model.embed_tokens.weight"][ids]
        words = embed[~action].mean(0) if self.config["use_film"] else None
        prefix = [self.project(self.vision(pixels, words))]
        if state is not None:
            prefix.append(self.two_layers("proprio_projector", state.to(embed.dtype))[None])
        if self.config["head"] == "diff":
            prefix.append(embed.new_zeros(1, embed.shape[1]))  # the clock's place
        content = embed * ~action[:, None]
        x = torch.cat([content[:1], *prefix, content[1:]])
        return x, action.nonzero()[:, 0] + len(x) - len(ids)

    def states(
        self, x: Tensor, slots: Tensor, real: Tensor | None, noisy: Tensor | None = None, time: int = 0
    ) -> tuple[Tensor, Tensor]:
        """The whole input and all states, with noisy actions (K, A) in the slots where there are some."""
        if noisy is not None:
            x = x.clone()
            x[slots] = self.two_layers("noisy_action_projector", noisy.reshape(-1, 1))
            x[self.prefix_length(x) - 1] = self.clock(time).to(x.dtype)[0]
        return x, self.llama(x, real)

    def prefix_length(self, x: Tensor) -> int:
        """Tokens before the prompt, without BOS, counted as in the official code, plus BOS."""
        side = self.config["image_size"] // self.config["dino"]["patch"]
        extra = int(self.config["use_proprio"]) + int(self.config["head"] == "diff")
        return 1 + self.config["num_images"] * side**2 + extra

    def alphas(self) -> Tensor:
        steps = self.config["num_diffusion_steps_train"]
        level = [math.cos((i / steps + 0.008) / 1.008 * math.pi / 2) ** 2 for i in range(steps + 1)]
        return (1 - torch.tensor([min(1 - level[i + 1] / level[i], 0.999) for i in range(steps)])).cumprod(0)
