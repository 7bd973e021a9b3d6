"""The udev rules, read by udev's rules: ATTRS is true if the device or anything it hangs on fits, also with !=."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

RULES = Path(__file__).parents[3] / "robot_drivers/aloha/99-aloha.rules"
TOKEN = re.compile(r'([A-Z]+)(?:\{([^}]+)\})?(==|!=|\+=|=)"([^"]*)"')
HUB = {"idVendor": "1d6b", "idProduct": "0002", "serial": "0000:00:14.0"}
SERIALS = {
    "FT000001": "ttyDXL_follower_left",
    "FT000002": "ttyDXL_follower_right",
    "FT000003": "ttyDXL_leader_left",
    "FT000004": "ttyDXL_leader_right",
}


def applied(rules: str, subsystem: str, *parents: Mapping[str, str]) -> dict[str, str]:
    """What rules assign to a device that hangs on `parents`."""
    assigned: dict[str, str] = {}
    skip_to = ""
    for line in rules.splitlines():
        tokens = [] if line.startswith("#") else TOKEN.findall(line)
        if skip_to and ("LABEL", "", "=", skip_to) not in tokens:
            continue
        skip_to = ""
        if not fits([token for token in tokens if token[2] in ("==", "!=")], subsystem, parents):
            continue
        for kind, name, sign, value in tokens:
            if kind == "GOTO":
                skip_to = value
            elif sign in ("=", "+=") and kind != "LABEL":
                assigned[f"{kind}{{{name}}}" if name else kind] = value
    return assigned


def fits(tests: Sequence[Sequence[str]], subsystem: str, parents: Sequence[Mapping[str, str]]) -> bool:
    """Whether a rule is for the device; all its ATTRS must be true of one and the same parent."""
    own = [(value == subsystem) == (sign == "==") for kind, _, sign, value in tests if kind == "SUBSYSTEM"]
    attrs = [(name, sign == "==", value) for kind, name, sign, value in tests if kind == "ATTRS"]
    on_one = (all((each.get(name) == value) == equal for name, equal, value in attrs) for each in parents)
    return all(own) and (not attrs or any(on_one))


@pytest.mark.parametrize("serial", SERIALS)
def test_an_adapter_gets_its_name_and_a_short_latency(serial):
    adapter = {"idVendor": "0403", "idProduct": "6014", "serial": serial}
    assigned = applied(RULES.read_text(), "tty", adapter, HUB)
    assert assigned["SYMLINK"] == SERIALS[serial]
    assert assigned["ATTR{device/latency_timer}"] == "1"
    assert assigned["ENV{ID_MM_DEVICE_IGNORE}"] == "1"


def test_nothing_else_is_touched():
    adapter = {"idVendor": "0403", "idProduct": "6014", "serial": "FT000001"}
    other = {"idVendor": "2341", "idProduct": "0043", "serial": "FT000001"}
    assert applied(RULES.read_text(), "tty", other, HUB) == {}
    assert applied(RULES.read_text(), "usb", adapter, HUB) == {}


def test_the_negations_that_were_there_once_would_be_noticed():
    before = 'ATTRS{idVendor}!="0403", GOTO="end"\nATTRS{serial}=="FT000001", SYMLINK+="x"\nLABEL="end"\n'
    adapter = {"idVendor": "0403", "serial": "FT000001"}
    assert applied(before, "tty", adapter, HUB) == {}
    assert applied(before, "tty", adapter) == {"SYMLINK": "x"}
