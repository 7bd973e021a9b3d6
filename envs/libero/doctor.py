"""Tells a person what this machine can do for LIBERO, and what to mend."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from envs.rendering import BACKENDS, RenderingUnavailable, configure_gl

_DRAW = "from envs.rendering import gl_strings; print(gl_strings()['name'])"


def check_gl() -> int:
    """Exit code 0 when an off-screen renderer is installed; quiet, for `make setup`."""
    try:
        configure_gl()
    except RenderingUnavailable:
        return 1
    return 0


def check_machine(suites: Sequence[str]) -> int:
    """Print machine, renderers and conformance of each suite; exit code 1 when something drifts.

    Raises:
        RenderingUnavailable: no renderer is installed.
        ValueError: unknown suite.
    """
    from envs.libero.conformance import check

    _say("python", sys.version.split()[0])
    _say("cores", str(len(os.sched_getaffinity(0))))
    _say("memory", f"{os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') / 2**30:.0f} GiB; about 2 GiB a worker")
    _say("disk", f"{shutil.disk_usage(Path.cwd()).free / 2**30:.0f} GiB free here")
    for backend in BACKENDS:
        _say(f"MUJOCO_GL={backend}", _try_backend(backend))
    _say("chosen", configure_gl())
    drifted = False
    for suite in suites:
        found = check(suite)
        versions = ", ".join(f"{name} {version}" for name, version in found.fingerprint["versions"].items())
        _say(suite, "conforms" if not found.drifts else f"{len(found.drifts)} differences", versions)
        for drift in found.drifts:
            _say("", f"- {drift}")
        drifted = drifted or bool(found.drifts)
    return int(drifted)


def _try_backend(backend: str) -> str:
    """Draw with a backend in a process of its own, because MuJoCo chooses one at import."""
    environment = {**os.environ, "MUJOCO_GL": backend, "PYOPENGL_PLATFORM": backend}
    tried = subprocess.run([sys.executable, "-c", _DRAW], env=environment, capture_output=True, text=True, check=False)
    if tried.returncode == 0:
        return f"works: {tried.stdout.strip()}"
    said = tried.stderr.strip().splitlines() or [f"the process died without a word (exit code {tried.returncode})"]
    return f"not available: {said[-1]}"


def _say(name: str, *values: str) -> None:
    sys.stdout.write(f"{name:>18}  {'; '.join(values)}\n")
