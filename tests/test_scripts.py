"""The command lines, on the real benchmark, as a user types them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import av
import pytest

ROOT = Path(__file__).parents[1]


def run_script(name: str, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(ROOT / "scripts" / name), *arguments]
    return subprocess.run(
        command, capture_output=True, text=True, check=False, cwd=ROOT, env={**os.environ, **environment}
    )


def test_an_evaluation_of_the_expert_leaves_a_complete_run_folder(tmp_path):
    run_dir = tmp_path / "run"
    short = ("policy=expert", "env.suite=libero_goal", "env.tasks=[7]", f"run_dir={run_dir}")
    found = run_script("eval.py", *short, "eval.workers=1", "eval.video_stride=20")
    assert found.returncode == 0, found.stderr
    assert str(run_dir / "report.html") in found.stdout
    (row,) = [json.loads(line) for line in (run_dir / "episodes.jsonl").read_text().splitlines()]
    assert row["outcome"] == "SUCCESS"
    assert len(row["final_state_sha256"]) == 64
    summary = json.loads((run_dir / "summary.json").read_text())
    assert summary["overall"]["rate"] == 1.0
    assert summary["suites"]["libero_goal"]["tasks"]["7"]["episodes"] == 1
    assert summary["fingerprint"]["environment"]["versions"]["mujoco"] == "3.3.2"
    with av.open(str(run_dir / row["video"])) as video:
        assert video.streams.video[0].codec_context.name == "h264"
    assert {"config.yaml", "fingerprint.json", "report.html"} <= {path.name for path in run_dir.iterdir()}
    again = run_script("eval.py", *short)
    assert again.returncode == 2
    assert "eval.resume=true" in again.stderr + again.stdout


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("env.suite=libero_objct", "did you mean 'libero_object'"),
        ("env.render=lo", "did you mean 'lod'"),
        ("env.tasks=[12]", "no task 12"),
        ("policy=expertt", "Did you mean 'expert'"),
        ("eval.episods=3", "Did you mean 'eval.episodes'"),
        ("eval.episodes=51", "50 initial states"),
    ],
)
def test_bad_input_is_refused_in_one_message_before_any_work(tmp_path, override, message):
    found = run_script("eval.py", override, f"run_dir={tmp_path / 'run'}")
    assert found.returncode == 2
    assert message in found.stderr
    assert "Traceback" not in found.stderr
    assert not (tmp_path / "run").exists()


def test_an_impossible_renderer_is_refused(tmp_path):
    found = run_script("eval.py", "policy=hold", f"run_dir={tmp_path / 'run'}", MUJOCO_GL="glx")
    assert found.returncode == 2
    assert "expected one of osmesa, egl, got 'glx'" in found.stderr
    assert "Traceback" not in found.stderr


def test_a_session_in_simulation_is_recorded_and_its_replay_is_exact(tmp_path):
    common = ("env=aloha_transfer_cube", "env.cameras=[]")
    found = run_script(
        "rollout.py", *common, "policy=aloha_expert", "runtime.pace=free", "max_s=0.5", "first_trial=3",
        "teleop=scripted", "teleop.start=10", f"teleop.motion={[[0.01 * t, *[0.0] * 13] for t in range(8)]}",
        f"run_dir={tmp_path / 'run'}",
    )  # fmt: skip
    assert found.returncode == 0, found.stderr
    assert "FAILURE after 25 steps" in found.stdout
    found = run_script("replay.py", *common, f"recording={tmp_path / 'run' / 'recording'}", "tolerance=0")
    assert found.returncode == 0, found.stderr
    assert "largest difference in the state reached: 0\n" in found.stdout
    export = run_script("export.py", str(tmp_path / "run" / "recording"), str(tmp_path), "--format", "aloha_hdf5")
    assert export.stdout.strip() == str(tmp_path / "episode_0.hdf5"), export.stderr
    found = run_script("replay.py", *common, "recording=nowhere")
    assert (found.returncode, "is not a LeRobotDataset" in found.stderr) == (1, True)


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["doctor.py", "--help"], 0, "robot=aloha"),
        (["doctor.py", "leader=wx250s"], 2, "leader=wx250s: expected robot=... beside it"),
        (["doctor.py", "robot=aloha", "leder=wx250s"], 2, "Did you mean 'leader'"),
        (["rest.py"], 2, "robot: expected one, for example robot=aloha"),
        (["rest.py", "--help"], 0, "torque_off: true"),
        (["rest.py", "robot=aloha", "torque_off=1"], 2, "torque_off: expected true or false, got 1"),
        (["rest.py", "robot=aloha"], 1, "expected armed=true, got false; nothing was opened"),
        (["revive.py", "robot=aloha_emulated", "arm=left"], 2, "joint: expected one, got none; for example arm=left"),
        (
            ["revive.py", "robot=aloha", "arm=left", "joint=elbow"],
            1,
            "expected armed=true, got false; nothing was opened",
        ),
        (["revive.py", "robot=aloha_emulated", "arm=left", "joint=elbow"], 1, "expected a hardware error, got none"),
        (["revive.py", "robot=aloha_emulated", "arm=left", "joint=hip"], 2, "joint: expected one of waist"),
    ],
)
def test_scripts_for_arms_say_what_they_need(arguments, code, message):
    found = run_script(*arguments)
    assert (found.returncode, message in found.stdout + found.stderr) == (code, True), found.stderr
    assert "Traceback" not in found.stderr
