"""What every executor promises, run on every one of them; then what each one does of its own."""

import dataclasses
import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.fakes import FakeEnv
from vla.runtime.inference import Asynchronous, OpenLoop, RealTimeChunking, Splice, TemporalEnsembling
from vla.runtime.inference.splice import fade_weights
from vla.runtime.loop import run_episode
from vla.runtime.safety import LimitFilter
from vla.types import ActionChunk, ActionSpec, Observation

HZ = 20.0
DELTAS = ActionSpec("eef_delta", ("x", "y", "gripper"), np.full(3, -1.0), np.full(3, 1.0), np.full(3, np.inf), HZ)
POSITIONS = dataclasses.replace(DELTAS, kind="joint_position")
EXECUTORS = {
    "open_loop": OpenLoop,
    "receding_horizon": lambda policy, **latency: OpenLoop(policy, 3, **latency),
    "temporal_ensembling": TemporalEnsembling,
    "asynchronous": Asynchronous,
    "asynchronous_aligned": lambda policy, **latency: Asynchronous(policy, drop_elapsed=True, **latency),
    "splice": Splice,
    "real_time_chunking": RealTimeChunking,
}
EVERY = pytest.mark.parametrize("make", EXECUTORS.values(), ids=EXECUTORS)


class Scripted:
    """Plans `path(tick)` for the coming ticks, with an error of its own for each query; closes for words with 'close'.

    The tick is read off the observation's time, so that a plan is right about when each of its actions is due.
    """

    accepts_prefix = True

    def __init__(self, size=8, error=0.0, path=lambda tick: 0.01 * tick):
        self.size, self.error, self.path = size, error, path
        self.resets, self.asked, self.prefixes = 0, [], []

    def reset(self):
        self.resets += 1

    def infer(self, observation):
        tick = round(observation.time * HZ)
        self.asked.append(tick)
        error = self.error * (-1) ** len(self.asked)
        grip = 1.0 if "close" in observation.instruction else -1.0
        actions = [[self.path(t) + error, tick / 1000, grip] for t in range(tick, tick + self.size)]
        return ActionChunk(np.array(actions), observation.instruction, observation.time)

    def infer_after(self, observation, prefix, frozen):
        self.prefixes.append((prefix, frozen))
        chunk = self.infer(observation)
        actions = np.concatenate([prefix[:frozen], chunk.actions[frozen:]])
        return dataclasses.replace(chunk, actions=actions)


def seen(tick, words="go"):
    return Observation({}, np.zeros(3), words, tick / HZ)


def run(inference, ticks, words=lambda tick: "go", spec=DELTAS):
    """(T, A) actions, and the tick that each was planned at."""
    inference.reset(spec)
    sources, actions = [], []
    for tick in range(ticks):
        actions.append(inference.next_action(seen(tick, words(tick))))
        sources.append(inference.planned_at)
    return np.array(actions), sources


# Every executor.


@EVERY
def test_without_latency_every_tick_has_a_planned_action(make):
    actions, sources = run(make(Scripted()), 40)
    assert None not in sources
    np.testing.assert_allclose(actions[:, 0], 0.01 * np.arange(40), atol=1e-12)  # plans agree: nothing may distort them


@EVERY
def test_while_the_first_answer_is_awaited_the_robot_holds(make):
    actions, sources = run(make(Scripted(), latency_s=0.1), 4)
    assert sources == [None, None, 0, 0]
    np.testing.assert_array_equal(actions[:2], np.zeros((2, 3)))


@EVERY
def test_position_control_starts_with_a_plan_and_repeats_when_there_is_none(make):
    actions, sources = run(make(Scripted(4), latency_s=0.15), 12, spec=POSITIONS)
    assert sources[0] == 0
    assert all(np.abs(np.diff(actions[:, 0])) <= 0.05)
    for tick in [tick for tick, source in enumerate(sources) if source is None]:
        np.testing.assert_array_equal(actions[tick], actions[tick - 1])


@EVERY
def test_a_chunk_for_other_words_is_dropped_and_the_gripper_stays(make):
    inference = make(Scripted(), latency_s=0.1)
    actions, sources = run(inference, 30, lambda tick: "close it" if tick < 13 else "open it")
    late = [source for source in sources[13:] if source is not None]
    assert late
    assert min(late) >= 13  # nothing planned for the old words, not even an answer that was on its way
    assert set(actions[2:13, 2]) == {1.0}
    waiting = list(itertools.takewhile(lambda tick: sources[tick] is None, range(13, 30)))
    assert waiting
    np.testing.assert_array_equal(actions[waiting], np.tile([0.0, 0.0, 1.0], (len(waiting), 1)))
    assert actions[-1, 2] == -1.0


@EVERY
def test_a_reset_forgets_everything(make):
    policy = Scripted()
    inference = make(policy, latency_s=0.1)
    first, sources = run(inference, 11)
    again, sources_again = run(inference, 11)
    np.testing.assert_array_equal(first, again)
    assert sources == sources_again
    assert policy.resets == 2
    inference.reset(DELTAS)
    assert (inference.policy_calls, inference.policy_s) == (0, 0.0)


@EVERY
def test_jitter_is_repeated_by_its_seed_and_only_by_it(make):
    def sources(seed):
        np.random.seed(seed)
        return run(make(Scripted(20), latency_s=0.2, jitter_s=0.2), 80)[1]

    assert sources(1) == sources(1)
    assert len({tuple(sources(seed)) for seed in range(4)}) > 1


@EVERY
def test_one_query_at_a_time_each_counted(make):
    policy = Scripted(20)
    inference = make(policy, latency_s=0.3)
    run(inference, 60)
    assert inference.policy_calls == len(policy.asked)
    assert min(later - earlier for earlier, later in itertools.pairwise(policy.asked)) >= 6


@EVERY
@settings(max_examples=25, deadline=None)
@given(size=st.integers(7, 12), ticks=st.integers(0, 6), jitter=st.booleans(), error=st.floats(0, 0.2))
def test_any_latency_shorter_than_the_chunk_gives_finite_actions_in_range(make, size, ticks, jitter, error):
    np.random.seed(0)
    latency = {"latency_s": ticks / HZ, "jitter_s": (ticks // 2 if ticks + ticks // 2 < size and jitter else 0) / HZ}
    actions, sources = run(make(Scripted(size, error), **latency), 50)
    assert np.isfinite(actions).all()
    assert np.abs(actions).max() <= 1.0
    assert set(actions[:, 2]) <= {0.0, -1.0}
    assert [source for source in sources if source is not None] == sorted(s for s in sources if s is not None)


@EVERY
def test_it_runs_in_the_loop(make):
    class Push(Scripted):
        def infer(self, observation):
            return ActionChunk(np.full((8, 2), 0.6), observation.instruction, observation.time)

    env = FakeEnv("fake_suite", 0)
    episode = run_episode(env, make(Push(), latency_s=0.1), LimitFilter(env.action_spec), trial=0, max_steps=40)
    assert episode.outcome == "SUCCESS"


@EVERY
@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"latency_s": -0.1}, r"runtime\.latency_s: expected seconds, 0 or more, got -0\.1"),
        ({"latency_s": float("nan")}, r"runtime\.latency_s: expected seconds"),
        (
            {"latency_s": "meassured"},
            r"runtime\.latency_s: expected seconds, 'measured' or 'background', got 'meassured'",
        ),
        ({"latency_s": 0.1, "jitter_s": 0.2}, r"runtime\.jitter_s: expected at most runtime\.latency_s"),
        ({"latency_s": "measured", "jitter_s": 0.1}, r"runtime\.jitter_s: expected 0"),
        ({"latency_s": "background", "jitter_s": 0.1}, r"runtime\.jitter_s: expected 0"),
    ],
)
def test_impossible_latencies_are_refused(make, settings, message):
    with pytest.raises(ValueError, match=message):
        make(Scripted(), **settings)


@EVERY
def test_measured_latency_counts_real_seconds(make, monkeypatch):
    clock = itertools.count(step=0.1)  # each look at the clock comes 0.1 s after the last: a query takes two ticks
    monkeypatch.setattr("vla.runtime.inference.executor.time.perf_counter", lambda: next(clock))
    _, sources = run(make(Scripted(), latency_s="measured"), 4)
    assert sources == [None, None, 0, 0]


@EVERY
def test_an_answer_for_words_that_were_not_asked_is_an_error(make):
    class Deaf(Scripted):
        def infer(self, observation):
            return dataclasses.replace(super().infer(observation), instruction="something else")

    with pytest.raises(ValueError, match="answered for 'something else'"):
        run(make(Deaf()), 1)


@EVERY
def test_a_missing_reset_is_named(make):
    with pytest.raises(RuntimeError, match=r"call reset\(spec\)"):
        make(Scripted()).next_action(seen(0))


# One by one.


def test_open_loop_waits_between_chunks():
    _, sources = run(OpenLoop(Scripted(4), latency_s=0.1), 13)
    assert sources == [None, None, 0, 0, 0, 0, None, None, 6, 6, 6, 6, None]


def test_more_actions_than_planned_are_refused():
    for make in (OpenLoop, Asynchronous, Splice, RealTimeChunking):
        with pytest.raises(ValueError, match=r"runtime\.execute: the policy plans chunks of 8 actions.*got 9"):
            run(make(Scripted(8), 9), 1)


@pytest.mark.parametrize("make", [Splice, RealTimeChunking, TemporalEnsembling])
def test_a_latency_as_long_as_the_chunk_is_refused_where_all_of_it_would_be_late(make):
    with pytest.raises(ValueError, match="can take 4 ticks at 20 Hz, but a chunk has only 4 actions"):
        run(make(Scripted(4), latency_s=0.2), 9)


def test_asynchronous_never_waits_once_it_moves_and_switches_on_arrival():
    policy = Scripted(8)
    _, sources = run(Asynchronous(policy, 4, latency_s=0.1), 16)
    assert sources == [None] * 2 + [0] * 6 + [6] * 6 + [12] * 2
    assert policy.asked == [0, 6, 12]


def test_asynchronous_replays_the_elapsed_part_unless_told_to_drop_it():
    late, _ = run(Asynchronous(Scripted(8), 4, latency_s=0.1), 12)
    aligned, _ = run(Asynchronous(Scripted(8), 4, drop_elapsed=True, latency_s=0.1), 12)
    assert late[8, 0] == pytest.approx(0.06)  # planned for tick 6
    assert aligned[8, 0] == pytest.approx(0.08 - 0.02 + 0.02)
    # The first chunk starts at its first action in both: while it was awaited nothing elapsed but time.
    assert late[2, 0] == aligned[2, 0] == 0.0


def ensemble_by_the_paper(plans, tick, m):
    """ACT, algorithm 2, written out: plans are (first tick, actions), oldest first."""
    said = [actions[tick - first] for first, actions in plans if first <= tick < first + len(actions)]
    weights = [np.exp(-m * i) for i in range(len(said))]
    return sum(w * a for w, a in zip(weights, said, strict=True)) / sum(weights)


@pytest.mark.parametrize("m", [0.0, 0.01, 0.5])
def test_temporal_ensembling_is_that_of_act(m):
    policy = Scripted(5, error=0.1)
    actions, _ = run(TemporalEnsembling(policy, m), 12, spec=POSITIONS)
    again = Scripted(5, error=0.1)
    plans = [(tick, again.infer(seen(tick)).actions) for tick in range(12)]
    for tick in range(12):
        expected = ensemble_by_the_paper(plans[: tick + 1], tick, m)
        np.testing.assert_allclose(actions[tick], expected, atol=1e-12)


def test_temporal_ensembling_takes_a_grippers_command_from_the_newest_plan():
    class Closing(Scripted):
        def infer(self, observation):
            chunk = super().infer(observation)
            chunk.actions[:, 2] = 1.0 if observation.time >= 0.2 else -1.0
            return chunk

    actions, _ = run(TemporalEnsembling(Closing()), 8)
    assert actions[:, 2].tolist() == [-1.0] * 4 + [1.0] * 4
    actions, _ = run(TemporalEnsembling(Closing()), 8, spec=POSITIONS)
    assert -1.0 < actions[5, 2] < 1.0  # a position is averaged, as in ACT


@pytest.mark.parametrize("spec", [DELTAS, POSITIONS])
def test_splice_bends_from_plan_to_plan_and_ends_on_the_new_one(spec):
    # 32 actions, so that one seam has faded before the next
    hard, _ = run(Asynchronous(Scripted(32, 0.1), 16, True, latency_s=0.1), 60, spec=spec)
    soft, _ = run(Splice(Scripted(32, 0.1), 16, latency_s=0.1), 60, spec=spec)
    bend, step = (np.abs(np.diff(hard[4:, 0], order)).max() for order in (2, 1))
    assert min(bend, step) > 0.18
    limit = 0.15 if spec is POSITIONS else 0.25  # repaying two ticks of disagreement adds some
    assert np.abs(np.diff(soft[4:, 0], 2)).max() < limit * bend
    assert np.abs(np.diff(soft[4:, 0])).max() < 0.55 * step
    np.testing.assert_allclose(soft[48, 0], hard[48, 0], atol=1e-12)


@pytest.mark.parametrize("ticks", range(1, 12))
def test_a_fade_bends_as_little_as_any_can(ticks):
    whole = np.concatenate([[0, 0], fade_weights(ticks), [1, 1]])  # before, in and after the fade
    np.testing.assert_allclose(
        fade_weights(ticks) + fade_weights(ticks)[::-1], 1.0
    )  # on the average no later than a line
    assert np.all(np.diff(whole) >= 0)
    # Growing by one more each tick and then by one less covers (ticks + 2)^2 / 4 in whole numbers.
    assert np.abs(np.diff(whole, 2)).max() == pytest.approx(1 / ((ticks + 2) ** 2 // 4))


@pytest.mark.parametrize("latency", [0.0, 0.1, 0.2, 0.3])
def test_plans_that_agree_are_not_distorted_even_past_the_old_ones_end(latency):
    splice = Splice(Scripted(12), 6, fade=8, latency_s=latency)  # at the seam 6 to 0 actions of the old plan are left
    actions, _ = run(splice, 80, spec=POSITIONS)
    np.testing.assert_allclose(actions[60:, 0], 0.01 * np.arange(60, 80), atol=1e-6)  # the first chunk began late


def test_splice_never_blends_the_gripper():
    class Toggling(Scripted):
        def infer(self, observation):
            chunk = super().infer(observation)
            chunk.actions[:, 2] = (-1.0) ** len(self.asked)
            return chunk

    actions, sources = run(Splice(Toggling(8), 4, latency_s=0.1), 30)
    assert set(actions[2:, 2]) == {-1.0, 1.0}
    switches = [tick for tick in range(3, 30) if sources[tick] != sources[tick - 1]]
    assert [tick for tick in range(3, 30) if actions[tick, 2] != actions[tick - 1, 2]] == switches


def test_splice_makes_up_for_the_motion_of_dropped_deltas():
    class Correcting(Scripted):
        """Only its second plan moves, and only in the two ticks that have elapsed when it arrives."""

        def infer(self, observation):
            chunk = super().infer(observation)
            chunk.actions[:, 0] = 0.0
            if len(self.asked) == 2:
                chunk.actions[:2, 0] = 0.3
            return chunk

    kept, _ = run(Splice(Correcting(32), 16, latency_s=0.1), 34)
    dropped, _ = run(Splice(Correcting(32), 16, repay=0, latency_s=0.1), 34)
    assert kept[:, 0].sum() == pytest.approx(0.6)
    assert dropped[:, 0].sum() == pytest.approx(0.0)


@settings(max_examples=40, deadline=None)
@given(fade=st.integers(0, 6), execute=st.integers(1, 12), ticks=st.integers(0, 5), repay=st.integers(0, 9))
def test_splice_settles_where_plans_agree(fade, execute, ticks, repay):
    steady = Scripted(12, path=lambda tick: 0.3)
    actions, sources = run(Splice(steady, min(execute, 12 - ticks), fade, repay, latency_s=ticks / HZ), 400)
    assert None not in sources[ticks:]
    np.testing.assert_allclose(actions[-20:, 0], 0.3, atol=1e-6)  # it faded in from standing


def test_real_time_chunking_freezes_what_will_run_meanwhile():
    policy = Scripted(8, error=0.1)
    actions, sources = run(RealTimeChunking(policy, 4, latency_s=0.1), 30)
    first, *others = policy.prefixes
    assert all(frozen == 2 for _, frozen in [first, *others])
    for (prefix, frozen), asked in zip(policy.prefixes, policy.asked[1:], strict=True):
        np.testing.assert_array_equal(prefix[:frozen], actions[asked : asked + frozen])
    assert None not in sources[2:]


def test_real_time_chunking_needs_a_policy_that_can():
    class Plain:
        def reset(self): ...
        def infer(self, observation): ...

    class Unable(Scripted):
        accepts_prefix = False

    for policy in (Plain(), Unable()):
        with pytest.raises(ValueError, match=r"flow or diffusion head.*runtime=splice"):
            RealTimeChunking(policy)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: OpenLoop(Scripted(), 0), r"runtime\.execute: expected at least 1"),
        (lambda: Asynchronous(Scripted(), 2.5), r"runtime\.execute: expected at least 1"),
        (lambda: Asynchronous(Scripted(), drop_elapsed="yes"), r"runtime\.drop_elapsed: expected true or false"),
        (lambda: Splice(Scripted(), fade=-1), r"runtime\.fade: expected a whole number"),
        (lambda: Splice(Scripted(), repay=1.5), r"runtime\.repay: expected a whole number"),
        (lambda: TemporalEnsembling(Scripted(), m=-1), r"runtime\.m: expected a number"),
    ],
)
def test_impossible_settings_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()
