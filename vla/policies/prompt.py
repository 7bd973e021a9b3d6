"""From an instruction to the ids of OpenVLA's prompt.

Source: openvla-oft 213c5ff, experiments/robot/openvla_utils.py `get_vla_action`, modeling_prismatic.py
`predict_action` (which appends the empty token).
"""

from __future__ import annotations

from pathlib import Path

from tokenizers import Tokenizer

from vla.models.openvla_oft.sequence import BOS_ID, EMPTY_ID


class Prompt:
    """Turns words into ids, with the tokenizer of the checkpoint.

    Args:
        tokenizer: a tokenizer.json.
    """

    def __init__(self, tokenizer: Path) -> None:
        self._tokenizer = Tokenizer.from_file(str(tokenizer))

    @staticmethod
    def text(instruction: str) -> str:
        """The sentence around the instruction, which is lower-cased; nothing else in it is changed."""
        return f"In: What action should the robot take to {instruction.lower()}?\nOut:"

    def __call__(self, instruction: str) -> list[int]:
        """BOS first, the empty token last.

        Raises:
            ValueError: there are no words.
        """
        if not instruction.strip():
            raise ValueError("instruction: expected words, got an empty one")
        ids = [BOS_ID, *self._tokenizer.encode(self.text(instruction), add_special_tokens=False).ids]
        return ids if ids[-1] == EMPTY_ID else [*ids, EMPTY_ID]
