"""The way through episodes: which rows are judged, by what, and what happens to bad episodes."""

from __future__ import annotations

import dataclasses
import json
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from trossen_pi0_core.contract import Observation
from trossen_pi0_core.errors import BackendError, DatasetError, EpisodeError, ParameterError
from trossen_pi0_data.plain_json import to_json
from trossen_pi0_training.offline.evaluation import (
    BEST,
    HOLD,
    POLICY,
    VELOCITY,
    evaluate,
    stride_of,
)
from trossen_pi0_training.offline.figures import differences, read_figures
from trossen_pi0_training.offline.options import Options, parse
from trossen_pi0_training.offline.plan import Motion, Plan, Planned
from trossen_pi0_training.offline.sources import JOINTS, Row, Source

OPTIONS = Options(episodes=(Path("x"),), server="ws://x", stride=4, worst=2, execute=(0, 2))
ROWS = 5
SPEED = np.linspace(0.01, 0.14, 14, dtype=np.float64)


def action_of(index: int) -> NDArray[np.float64]:
    return SPEED * index


class Line(Source):
    """An episode whose joints move evenly; ``gaps`` have no frame."""

    def __init__(self, frames=12, gaps=(), fails_at=None, prompt="go", held=()):
        self.name, self.prompt, self.outcome = "line", prompt, "success"
        self.expected, self.cameras = frames, ("cam_high",)
        self.gaps, self.fails_at, self.held = gaps, fails_at, held

    def commands(self) -> NDArray[np.float64]:
        return np.array([action_of(i) for i in range(self.expected)])

    def rows(self):
        for i in range(self.expected):
            if i == self.fails_at:
                raise EpisodeError("the file is damaged")
            if i not in self.gaps:
                state = action_of(i) - SPEED  # one frame behind its command
                observe = partial(self._see, i, state)
                yield Row(i, i / 30, state, action_of(i), observe, i not in self.held)

    def missing(self):
        return len(self.gaps)

    def notes(self):
        return ["a note"] if self.gaps else []

    def _see(self, index, state):
        image = np.full((48, 64, 3), index, np.uint8)
        return Observation(index, JOINTS.urdf_names, state, {"cam_high": image}, {}, self.prompt)


class Oracle:
    """Knows the future, and is off by ``wrong`` in each sample."""

    def __init__(self, *wrong, rows=ROWS):
        self.wrong, self.rows = wrong or (0.0,), rows
        self.asked = []

    def chunks(self, episode, frame, seen) -> NDArray[np.float64]:
        assert seen.stamp_ns == frame
        self.asked.append((episode, frame))
        chunk = np.array([action_of(frame + k) for k in range(self.rows)])
        return np.stack([chunk + wrong * SPEED for wrong in self.wrong])


def plan(*sources):
    episodes = tuple(
        Planned(f"e{i}", s.prompt, s.outcome, s.expected, lambda s=s: s)
        for i, s in enumerate(sources)
    )
    motion = Motion(np.zeros(14), 10 * SPEED)
    return Plan(episodes, {}, ("cam_high",), motion)


def run(*sources, policy=None, **changes):
    policy = policy or Oracle()
    options = dataclasses.replace(OPTIONS, **{"samples": len(policy.wrong), **changes})
    return evaluate(plan(*(sources or (Line(),))), policy, options)


def test_recorded_actions_have_no_error():
    oracle = Oracle()
    found = run(policy=oracle)
    assert oracle.asked == [("e0", 0), ("e0", 4), ("e0", 8)]
    errors = found.scores.errors
    np.testing.assert_array_equal(errors[POLICY].curve, np.zeros((ROWS, 14)))
    np.testing.assert_array_equal(errors[POLICY].rows, [3, 3, 3, 3, 2])
    assert found.episodes[0].moment_errors == [0, 0, 0]
    assert found.worst.moments[0].error == 0.0


def test_those_that_know_nothing_have_the_errors_of_an_even_motion():
    errors = run().scores.errors
    steps = np.arange(1, ROWS + 1)[:, None] * SPEED
    np.testing.assert_allclose(errors[HOLD].curve, steps, atol=1e-12)
    later = run(Line(gaps=(0, 1, 2, 3)), stride=100).scores.errors[VELOCITY]
    np.testing.assert_allclose(later.curve, steps, atol=1e-12)  # from the state: nothing before
    moving = run(Line(gaps=()), stride=4)
    # At frame 0 it holds the state; from 4 on it is right.
    np.testing.assert_allclose(moving.scores.errors[VELOCITY].curve[:4], steps[:4] / 3, atol=1e-12)


def test_rows_without_a_frame_are_not_judged():
    found = run(Line(gaps=(2, 4, 5)), policy=Oracle(1.0))
    # Asked at 0, 6 (4 and 5 are missing) and 10; rows 2 and 4 of the first fall into gaps.
    assert found.scores.moments == 3
    np.testing.assert_array_equal(found.scores.errors[POLICY].rows, [3, 3, 1, 2, 1])
    np.testing.assert_allclose(found.scores.errors[POLICY].curve, np.tile(SPEED, (ROWS, 1)))
    assert (found.episodes[0].frames, found.episodes[0].missing) == (9, 3)
    assert found.episodes[0].notes == ["a note"]


def test_no_question_is_asked_twice():
    """Where a picture was lost the observation before is held: its rows are judged all the same."""
    oracle = Oracle()
    found = run(Line(held=(4, 5)), policy=oracle)
    assert [frame for _, frame in oracle.asked] == [0, 6, 10]
    np.testing.assert_array_equal(found.scores.errors[POLICY].rows, [3, 3, 2, 2, 2])


def test_samples_have_a_mean_a_best_and_a_spread():
    found = run(policy=Oracle(1.0, -3.0))
    errors = found.scores.errors
    np.testing.assert_allclose(errors[POLICY].mean_abs(), 2 * SPEED)
    np.testing.assert_allclose(errors[BEST].mean_abs(), SPEED)
    spread = found.scores.spread / errors[HOLD].rows[:, None]
    np.testing.assert_allclose(spread, np.tile(np.sqrt(8) * SPEED, (ROWS, 1)))
    assert found.episodes[0].moment_errors == pytest.approx([0.2, 0.2, 0.2])
    assert BEST not in run().scores.errors


def test_first_rows_are_compared_with_the_state():
    scores = run(policy=Oracle(2.0)).scores
    np.testing.assert_allclose(scores.jumps.mean, 3 * SPEED)
    np.testing.assert_allclose(scores.recorded_jumps.most, SPEED)


def test_the_worst_moments_show_what_was_before_and_seen():
    class Worse(Oracle):
        def chunks(self, episode, frame, seen):
            return super().chunks(episode, frame, seen) + (frame == 6) * SPEED

    found = run(Line(frames=20), policy=Worse(), stride=1)
    first = found.worst.moments[0]
    assert (first.episode, first.frame, first.time_s) == ("e0", 6, 0.2)
    assert first.error == pytest.approx(0.1)
    assert first.before.shape == (15, 14)
    np.testing.assert_array_equal(first.before[-1], action_of(5))
    assert np.isnan(first.before[8]).all()
    assert first.pictures["cam_high"].startswith("data:image/jpeg;base64,")


def test_the_number_of_inferences_can_be_limited():
    oracle = Oracle()
    run(Line(frames=40), policy=oracle, stride=1, max_frames=3)
    assert [frame for _, frame in oracle.asked] == [0, 14, 28]
    planned = Planned("a", "", "", 40, Line)
    assert stride_of(planned, dataclasses.replace(OPTIONS, max_frames=100)) == OPTIONS.stride


def test_a_horizon_judges_the_first_rows():
    found = run(policy=Oracle(1.0), horizon=3)
    np.testing.assert_array_equal(found.scores.errors[POLICY].rows, [3, 3, 3])
    assert (found.horizon, found.executed) == (3, (0, 2))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"horizon": 6}, "--horizon: the policy's chunks have 5 rows, got 6"),
        ({"execute": (2, 6)}, "within the 5 that are judged, got 2:6"),
    ],
)
def test_more_rows_than_there_are_are_refused(changes, message):
    with pytest.raises(ParameterError, match=message):
        run(**changes)


def test_a_damaged_episode_leaves_no_trace_in_the_figures():
    sources = (Line(), Line(fails_at=9), Line(frames=0), Line(prompt="stop"))
    found = run(*sources, policy=Oracle(1.0))
    assert found.left_out == {"e1": "the file is damaged", "e2": "it has no frames"}
    assert [each.name for each in found.episodes] == ["e0", "e3"]
    assert found.scores.moments == 6
    assert {prompt: scores.moments for prompt, scores in found.by_prompt.items()} == {
        "go": 3,
        "stop": 3,
    }
    assert {each.episode for each in found.worst.moments} <= {"e0", "e3"}
    with pytest.raises(DatasetError, match="e1: the file is damaged"):
        run(*sources, strict=True)
    with pytest.raises(DatasetError, match="no episode could be evaluated"):
        run(Line(fails_at=0))


def test_a_policy_that_fails_is_no_bad_episode():
    class Broken(Oracle):
        def chunks(self, episode, frame, seen):
            raise BackendError("the server is gone")

    with pytest.raises(BackendError, match="the server is gone"):
        run(policy=Broken())


# Options and files --------------------------------------------------------------------------------


def test_options_are_read(tmp_path):
    words = ["--episodes", "a", "b", "--checkpoint", str(tmp_path), "--execute-rows", "3:28"]
    found = parse([*words, "--samples", "4", "--output", "there"])
    assert found.episodes == (Path("a"), Path("b"))
    assert (found.execute, found.samples, found.stride, found.rate_hz) == ((3, 28), 4, 10, 30.0)
    assert found.executed_rows(50) == (3, 28)
    assert parse(words[:5]).executed_rows(50) == (0, 25)
    assert parse(words[:5]).executed_rows(16) == (0, 16)
    assert found.output == Path("there")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--server", "ws://x"], "need recorded episodes"),
        (["--episodes", "a"], "one of the arguments --checkpoint --server is required"),
        (["--episodes", "a", "--checkpoint", "not/there"], "'not/there' does not exist"),
        (["--episodes", "a", "--server", "x", "--config", "pi0"], "a server has its own model"),
        (["--episodes", "a", "--server", "x", "--cameras", "eye"], "need different names"),
        (["--episodes", "a", "--server", "x", "--stride", "0"], "from 1 to"),
        (["--episodes", "a", "--server", "x", "--rate", "nan"], "1 to 200 Hz, got 'nan'"),
        (["--episodes", "a", "--server", "x", "--execute-rows", "5:5"], "A:B with A < B"),
        (["--episodes", "a", "--server", "x", "--compare", "none"], "'none' does not exist"),
    ],
)
def test_bad_options_are_refused(words, message, capsys):
    with pytest.raises((ParameterError, SystemExit)) as refusal:
        parse(words)
    if isinstance(refusal.value, SystemExit):
        assert refusal.value.code == 2
        assert message in capsys.readouterr().err
    else:
        assert message in str(refusal.value)


def test_figures_that_are_not_known_are_null(tmp_path):
    file = tmp_path / "a.json"
    values = {"format": 1, "predictors": {"x": np.array([1.0, np.nan])}, "path": tmp_path}
    file.write_text(to_json({**values, "joints": JOINTS.dataset_names}))
    found = read_figures(file)
    assert found["predictors"]["x"] == [1.0, None]
    assert found["path"] == str(tmp_path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "cannot be read"),
        ("[]", "holds no figures"),
        (json.dumps({"format": 2, "predictors": {}}), "holds no figures"),
        (json.dumps({"format": 1, "predictors": {}, "joints": ["a"]}), "of other joints"),
    ],
)
def test_other_files_are_no_figures(tmp_path, text, message):
    file = tmp_path / "a.json"
    file.write_text(text)
    with pytest.raises(DatasetError, match=message):
        read_figures(file)


def test_other_moments_are_told():
    one = {"settings": {"stride": 5, "seed": 0}, "episodes": [{"name": "a", "moments": 3}]}
    same = {"settings": {"stride": 5, "seed": 1}, "episodes": [{"name": "a", "moments": 3}]}
    other = {"settings": {"stride": 2}, "episodes": [{"name": "a", "moments": 9}]}
    assert differences(one, same) == []
    assert differences(one, other) == ["stride 2 instead of 5", "other episodes or moments"]
