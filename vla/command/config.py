"""Hydra composition with messages that name the nearest valid key or option instead of a traceback."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException, InstantiationException
from hydra.utils import instantiate as hydra_instantiate
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from vla.command.errors import RefusedError, nearest


def compose_config(directory: Path, name: str, overrides: Sequence[str]) -> DictConfig:
    """Compose a primary config and resolve it.

    Args:
        directory: the `conf` folder.
        name: primary config, such as `eval`.
        overrides: Hydra overrides as typed, such as `policy=hold`.

    Raises:
        RefusedError: syntax error, unknown key, group or option, missing value; names the nearest valid one.
    """
    with initialize_config_dir(str(directory.resolve()), version_base="1.3"):
        try:
            config = compose(name, list(overrides))
            OmegaConf.resolve(config)
        except (HydraException, OmegaConfBaseException) as error:
            raise RefusedError(_explain(name, overrides, error)) from error
    missing = sorted(OmegaConf.missing_keys(config))
    if missing:
        raise RefusedError(f"{missing[0]}: expected a value, got none. Add {missing[0]}=<value>.")
    return config


def usage(directory: Path, name: str, command: str) -> str:
    """Help text: the options of each group and the default of every key."""
    with initialize_config_dir(str(directory.resolve()), version_base="1.3"):
        loader = GlobalHydra.instance().config_loader()
        config = compose(name)
        chosen = compose(name, return_hydra_config=True).hydra.runtime.choices  # also of a group that is no key: recipe
        groups = [key for key in dict.fromkeys(map(str, (*config, *chosen))) if key in loader.list_groups("")]
        options = "\n".join(f"  {group}={' | '.join(loader.get_group_options(group))}" for group in groups)
    return f"{command} key=value ...\n\nGroups:\n{options}\n\nKeys and defaults:\n{OmegaConf.to_yaml(config)}"


def to_dict(config: DictConfig) -> dict[str, Any]:
    """The config as plain, resolved dicts and lists."""
    return {str(key): value for key, value in _container(config).items()}


def build(node: Mapping[str, Any], where: str, **arguments: Any) -> Any:
    """Instantiate a config node (`_target_` and arguments).

    Raises:
        RefusedError: it could not be built; the message carries the cause.
    """
    if "_target_" not in node:
        raise RefusedError(f"{where}: expected a node with _target_, got the keys {sorted(node)}.")
    try:
        return hydra_instantiate(dict(node), _convert_="all", **arguments)
    except InstantiationException as error:
        cause = error.__cause__ or error
        detail = " ".join(str(cause).split()) or "no message"
        if isinstance(cause, ValueError):  # says itself what was expected and given, mostly with the key first
            named = detail.startswith(where.partition(".")[0] + ".")
            raise RefusedError(detail if named else f"{where}: {detail}") from error
        raise RefusedError(f"{where}: cannot build {node['_target_']}: {type(cause).__name__}: {detail}") from error


def flatten(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested dicts -> one dict with dotted keys."""
    return dict(_leaves(tree, prefix))


def _leaves(tree: Mapping[str, Any], prefix: str) -> Iterator[tuple[str, Any]]:
    for key, value in tree.items():
        if isinstance(value, Mapping) and value:
            yield from _leaves(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def _container(config: DictConfig) -> dict[Any, Any]:
    container = OmegaConf.to_container(config, resolve=True)
    if not isinstance(container, dict):
        raise RefusedError(f"config: expected a mapping, got {type(container).__name__}.")
    return container


def _explain(name: str, overrides: Sequence[str], error: Exception) -> str:
    """One message for what Hydra refused; looks for the first override that is to blame."""
    good: list[str] = []
    for text in sorted(overrides, key=_precedence):
        try:
            override = OverridesParser.create().parse_override(text)
        except HydraException:
            return f"'{text}': expected key=value (Hydra override syntax), for example eval.episodes=2."
        try:
            compose(name, [*good, text])
        except (HydraException, OmegaConfBaseException) as cause:
            return _explain_override(name, good, override, cause)
        good.append(text)
    return f"config '{name}': {_first_line(error)}"


def _explain_override(name: str, good: Sequence[str], override: Override, cause: Exception) -> str:
    key, text = override.key_or_group, override.input_line
    loader = GlobalHydra.instance().config_loader()
    groups = [group for group in loader.list_groups("") if group != "hydra"]
    if key in groups:
        options = loader.get_group_options(key)
        value = str(override.value())
        return f"'{text}': there is no {key} named '{value}'.{nearest(value, options)}"
    flat = flatten(_container(compose(name, list(good))))
    if key in flat:
        return f"'{text}': {_first_line(cause)}"
    names = [name for name in flat if "_target_" not in name]
    return f"'{text}': there is no key '{key}' in the config.{nearest(key, [*names, *groups])}"


def _precedence(override: str) -> tuple[bool, bool]:
    """Sorts as Hydra applies them: its own settings, then groups, then the keys in them."""
    key = override.split("=")[0]
    return not key.startswith("hydra."), "." in key


def _first_line(error: Exception) -> str:
    return str(error).splitlines()[0]


def check_lists(config: Mapping[str, Any], *names: str) -> None:
    """A word where a list belongs would be taken letter by letter.

    Raises:
        RefusedError: one of the keys `names` holds neither a list nor null.
    """
    for name in names:
        if not isinstance(config[name], list | None):
            raise RefusedError(f"{name}: expected a list, such as {name}=[{config[name]}], got {config[name]!r}.")


def describe_differences(old: Mapping[str, Any], new: Mapping[str, Any], there: str, here: str) -> str:
    """One line for each dotted key that differs."""
    before, after = flatten(old), flatten(new)
    names = [name for name in {**before, **after} if before.get(name) != after.get(name)]
    return "\n".join(
        f"  - {name}: {there} {before.get(name, 'absent')!r}, {here} {after.get(name, 'absent')!r}" for name in names
    )
