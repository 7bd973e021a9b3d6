from subprocess import CompletedProcess

import pytest

from envs.libero import doctor


@pytest.mark.parametrize(
    ("code", "said", "answer"),
    [
        (0, "", "works: Mesa"),
        (1, "Traceback\nImportError: no libEGL", "not available: ImportError: no libEGL"),
        (-11, "", "not available: the process died without a word (exit code -11)"),
    ],
)
def test_a_backend_that_cannot_draw_is_described_even_if_it_says_nothing(monkeypatch, code, said, answer):
    monkeypatch.setattr(doctor.subprocess, "run", lambda *_, **__: CompletedProcess([], code, "Mesa\n", said))
    assert doctor._try_backend("egl") == answer
