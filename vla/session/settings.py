"""What the settings of a session or a replay may be, checked before anything is built or moves."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from vla.command.errors import RefusedError


class Kind(NamedTuple):
    """What a setting may be: in words, and as a check."""

    words: str
    holds: Callable[[Any], bool]


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _is_list(value: Any, of: Callable[[Any], bool]) -> bool:
    return isinstance(value, list) and all(map(of, value))


def _or_null(kind: Kind) -> Kind:
    return Kind(f"{kind.words}, or null", lambda value: value is None or kind.holds(value))


COUNT = Kind("a number of at least 1", lambda value: type(value) is int and value >= 1)
INDEX = Kind("a whole number of at least 0", lambda value: type(value) is int and value >= 0)
FLAG = Kind("true or false", lambda value: isinstance(value, bool))
TEXT = Kind("text", lambda value: isinstance(value, str) and bool(value.strip()))
INDEX_OR_NULL, TEXT_OR_NULL = _or_null(INDEX), _or_null(TEXT)
SECONDS_OR_NULL = _or_null(Kind("seconds above 0", lambda value: _is_number(value) and value > 0))
DIFFERENCE_OR_NULL = _or_null(Kind("a number of at least 0", lambda value: _is_number(value) and value >= 0))
NAMES_OR_NULL = _or_null(Kind("a list of names", lambda value: _is_list(value, TEXT.holds)))
NUMBERS_OR_NULL = _or_null(Kind("a list of finite numbers", lambda value: _is_list(value, _is_number)))


def one_of(*choices: str) -> Kind:
    """One of a few words."""
    return Kind(f"{', '.join(choices[:-1])} or {choices[-1]}", lambda value: value in choices)


def check_settings(config: Mapping[str, Any], kinds: Mapping[str, Kind]) -> None:
    """Refuse the first setting that is not what it must be.

    Raises:
        RefusedError: key, what was expected, what was given.
    """
    for key, kind in kinds.items():
        if not kind.holds(config[key]):
            raise RefusedError(f"{key}: expected {kind.words}, got {config[key]!r}.")
