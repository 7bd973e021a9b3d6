"""The udev rules, read by udev's rules: ATTRS is true if the device or anything it hangs on fits, also with !=."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

RULES = Path("robot_drivers/aloha/99-aloha.rules")
HUB = {"idVendor": "1d6b", "idProduct": "0002", "serial": "0000:00:14.0"}
SERIALS = {
    "FT000001": "ttyDXL_follower_left",
    "FT000002": "ttyDXL_follower_right",
    "FT000003": "ttyDXL_leader_left",
    "FT000004": "ttyDXL_leader_right",
}


def applied(rules: str, subsystem: str, *parents: dict[str, str]) -> dict[str, str]:
    """What rules assign to a device that hangs on `parents`; all ATTRS of a rule must be those of one parent."""
    assigned: dict[str, str] = {}
    lines = [line for line in rules.splitlines() if line and not line.startswith("#")]
    skip_to = None
    for line in lines:
        tokens = re.findall(r'([A-Z]+)(?:\{([^}]+)\})?(==|!=|\+=|=)"([^"]*)"', line)
        if skip_to is not None:
            skip_to = None if ("LABEL", "", "=", skip_to) in tokens else skip_to
            continue
        tests = [token for token in tokens if token[2] in ("==", "!=")]
        attrs = [(name, sign == "==", value) for kind, name, sign, value in tests if kind == "ATTRS"]
        fits = all(
            (subsystem == value) == (sign == "==") for kind, _, sign, value in tests if kind == "SUBSYSTEM"
        ) and (
            not attrs
            or any(
                all((p.get(n) == v) == equal for n, equal, v in attrs if n in p) and all(n in p for n, _, _ in attrs)
                for p in parents
            )
        )
        if not fits:
            continue
        for kind, name, sign, value in tokens:
            if kind == "GOTO":
                skip_to = value
            elif sign in ("=", "+=") and kind != "LABEL":
                assigned[f"{kind}{{{name}}}" if name else kind] = value
    return assigned


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
