import pytest

from tests.fakes import CONF, SEARCH_PATH, fake_config
from vla.command.config import compose_config
from vla.command.errors import RefusedError
from vla.evaluation.plan import EpisodeKey, make_plan


def refusal(*overrides):
    """The message for a bad command line."""
    with pytest.raises(RefusedError) as caught:
        make_plan(fake_config("unused", *overrides))
    message = str(caught.value)
    assert "Traceback" not in message
    return message


def test_plan_lists_trials_of_tasks_in_order(tmp_path):
    plan = make_plan(fake_config(tmp_path, "env.tasks=[2,0]", "eval.episodes=2", "eval.first_episode=1"))
    assert plan.keys == tuple(EpisodeKey("fake_suite", task, trial) for task in (0, 2) for trial in (1, 2))
    assert list(plan.tasks) == [0, 2]


def test_tasks_by_name_and_single(tmp_path):
    assert list(make_plan(fake_config(tmp_path, "env.tasks=[push_3,1]")).tasks) == [1, 3]
    assert list(make_plan(fake_config(tmp_path, "env.tasks=2")).tasks) == [2]
    assert list(make_plan(fake_config(tmp_path, "env.tasks=all")).tasks) == [0, 1, 2, 3]


@pytest.mark.parametrize(
    ("override", "parts"),
    [
        ("eval.wrokers=3", ["eval.wrokers", "Did you mean 'eval.workers'?"]),
        ("policy=expertt", ["no policy named 'expertt'", "Did you mean 'expert'?"]),
        ("polcy=hold", ["'polcy'", "Did you mean 'policy'?"]),
        ("env=liberro", ["no env named", "Did you mean 'libero'?"]),
        ("env.suit=fake_suite", ["Did you mean 'env.suite'?"]),
        ("run_dri=x", ["Did you mean 'run_dir'?"]),
        ("eval.episodes", ["expected key=value"]),
        ("eval.episodes=[1", ["expected key=value"]),
        ("run_dir=${nowhere}", ["nowhere"]),
        ("run_dir=???", ["run_dir: expected a value"]),
        ("+eval.episode=3", ["Did you mean 'episodes'?"]),
        ("env.suite=fake_siute", ["env.benchmark", "Did you mean 'fake_suite'?"]),
        ("env.tasks=[0,9]", ["no task 9", "from 0 to 3"]),
        ("env.tasks=[true]", ["no task True"]),
        ("env.tasks=[pusk_1]", ["Did you mean 'push_"]),
        ("env.tasks=[]", ["empty list"]),
        ("eval.episodes=0", ["eval.episodes", "at least 1", "got 0"]),
        ("eval.episodes=many", ["whole number", "'many'"]),
        ("eval.episodes=6", ["5 initial states", "trials 0 to 5"]),
        ("eval.first_episode=5", ["trials 5 to 5"]),
        ("eval.first_episode=-1", ["at least 0"]),
        ("eval.workers=0", ["eval.workers", "at least 1"]),
        ("eval.workers=true", ["eval.workers", "True"]),
        ("eval.resume=1", ["eval.resume", "true or false"]),
        ("runtime.latency_s=background", ["needs a loop in real time", "scripts/rollout.py"]),
        ("eval.inference=sharde", ["Did you mean 'shared'?"]),
        ("eval.videos=no", ["eval.videos", "Did you mean 'none'?"]),
        ("eval.video_stride=0", ["at least 1"]),
    ],
)
def test_bad_input_is_refused_in_one_message_with_what_to_do(override, parts):
    message = refusal(override)
    for part in parts:
        assert part in message


def test_the_first_bad_override_is_blamed_even_before_its_group():
    message = refusal("env.sise=3", "env=fake")
    assert "Did you mean 'env.size'?" in message


def test_hash_depends_on_what_determines_the_rows_only(tmp_path):
    def plan_hash(*overrides):
        return make_plan(fake_config(tmp_path, *overrides)).hash()

    same = plan_hash("eval.workers=1", "eval.resume=true", f"run_dir={tmp_path / 'x'}", "eval.allow_drift=true")
    assert same == plan_hash()
    others = ["eval.seed=1", "eval.episodes=2", "env.size=16", "policy.chunk_size=2", "env.tasks=[1]"]
    assert len({plan_hash(), *map(plan_hash, others), plan_hash("runtime.execute=1")}) == len(others) + 2


def test_seeds_differ_by_episode_and_depend_on_nothing_else(tmp_path):
    plan = make_plan(fake_config(tmp_path, "eval.episodes=5"))
    part = make_plan(fake_config(tmp_path, "env.tasks=[2]", "eval.first_episode=3"))
    assert len({plan.episode_seed(key) for key in plan.keys}) == len(plan.keys)
    assert part.episode_seed(part.keys[0]) == plan.episode_seed(EpisodeKey("fake_suite", 2, 3))


def test_the_shipped_config_composes():
    config = compose_config(CONF, "eval", [SEARCH_PATH])
    assert config.eval.episodes == 1
    assert config.run_dir is None
