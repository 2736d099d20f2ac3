"""The scripted expert as a backend, with the real planner."""

from __future__ import annotations

import numpy as np
import pytest

from trossen_pi0_core.contract import NANOSECONDS, Observation
from trossen_pi0_core.errors import BackendError, BackendUnavailableError, ParameterError
from trossen_pi0_core.joints import JointMap
from trossen_pi0_core.parameters import PolicyParameters
from trossen_pi0_policy.backends import (
    BackendContext,
    GroundTruth,
    InferenceRequest,
    LatestGroundTruth,
    make_backend,
)
from trossen_pi0_sim.expert import STAGED

NAMES = JointMap().urdf_names
PERIOD_NS = NANOSECONDS // 30
START_S = 500.0


class Stage:
    """The backend with a cube that can be put anywhere, and arms that are where they are told."""

    def __init__(self):
        self.truth = LatestGroundTruth()
        self.backend = make_backend(
            "expert", BackendContext(PolicyParameters(backend="expert"), self.truth)
        )
        self.backend.prepare()
        self.backend.begin_run("", 0)
        self.put(0.1, -0.15)

    def put(self, x, y, stamp_s=START_S):
        pose = np.array([x, y, 0.04, 1.0, 0.0, 0.0, 0.0])
        stamp_ns = round(stamp_s * NANOSECONDS)
        self.truth.set(GroundTruth(stamp_ns, pose, np.full(3, 0.02)))

    def ask(self, seconds, state):
        stamp_ns = round((START_S + seconds) * NANOSECONDS)
        self.put_stamp(stamp_ns)
        observation = Observation(stamp_ns, NAMES, np.asarray(state, dtype=float), {})
        return self.backend.infer(InferenceRequest(observation, PERIOD_NS))

    def put_stamp(self, stamp_ns):
        truth = self.truth.get()
        assert truth is not None
        self.truth.set(GroundTruth(stamp_ns, truth.object_pose, truth.object_half_size))


def test_the_plan_begins_where_the_arms_are():
    answer = Stage().ask(0.0, STAGED)
    assert answer.positions.shape == (50, 14)
    np.testing.assert_allclose(answer.positions[0], STAGED, atol=1e-9)
    assert not answer.done


def test_chunks_of_arms_that_follow_lie_on_one_trajectory():
    stage = Stage()
    first = stage.ask(0.0, STAGED)
    second = stage.ask(25 * PERIOD_NS / NANOSECONDS, first.positions[25])
    np.testing.assert_allclose(second.positions[:25], first.positions[25:], atol=1e-6)


def test_arms_that_stayed_behind_get_the_same_rows_again():
    stage = Stage()
    first = stage.ask(0.0, STAGED)
    second = stage.ask(1.2, first.positions[4])
    assert np.abs(second.positions[0] - first.positions[4]).max() < 0.15


def test_a_run_ends_done_and_the_next_plans_anew():
    stage = Stage()
    seconds, answer = 0.0, stage.ask(0.0, STAGED)
    while not answer.done:
        seconds += 25 * PERIOD_NS / NANOSECONDS
        answer = stage.ask(seconds, answer.positions[25])
        assert seconds < 20.0
    np.testing.assert_allclose(answer.positions, np.tile(STAGED, (17, 1)), atol=1e-9)
    assert 10.0 < seconds < 16.0
    stage.backend.begin_run("", 0)
    assert not stage.ask(seconds + 1.0, STAGED).done


def test_the_object_moved_before_the_grasp_makes_a_new_plan():
    still, moved = Stage(), Stage()
    first = still.ask(0.0, STAGED)
    moved.ask(0.0, STAGED)
    step = 25 * PERIOD_NS / NANOSECONDS
    undisturbed = still.ask(step, first.positions[25])
    moved.put(0.16, -0.1)
    after = moved.ask(step, first.positions[25])
    np.testing.assert_allclose(after.positions[0], undisturbed.positions[0], atol=1e-6)
    assert np.abs(after.positions[-1] - undisturbed.positions[-1]).max() > 0.05


def test_the_object_moved_after_the_grasp_changes_nothing():
    one, other = Stage(), Stage()
    rows = [stage.ask(0.0, STAGED) for stage in (one, other)]
    for k in range(1, 5):
        if k == 4:
            other.put(0.0, 0.0)
        seconds = k * 25 * PERIOD_NS / NANOSECONDS
        rows = [
            stage.ask(seconds, row.positions[25])
            for stage, row in zip((one, other), rows, strict=True)
        ]
    np.testing.assert_allclose(rows[0].positions, rows[1].positions, atol=1e-6)


def test_without_ground_truth_there_is_no_plan():
    backend = make_backend("expert", BackendContext(PolicyParameters(backend="expert")))
    backend.prepare()
    backend.begin_run("", 0)
    observation = Observation(1, NAMES, STAGED, {})
    with pytest.raises(BackendUnavailableError, match="no ground truth; it works in simulation"):
        backend.infer(InferenceRequest(observation, PERIOD_NS))


def test_old_ground_truth_is_not_used():
    stage = Stage()
    observation = Observation(round((START_S + 3.0) * NANOSECONDS), NAMES, STAGED, {})
    with pytest.raises(BackendUnavailableError, match=r"3\.0 s older than the observation"):
        stage.backend.infer(InferenceRequest(observation, PERIOD_NS))


def test_an_object_out_of_reach_is_an_error():
    stage = Stage()
    stage.put(3.0, 0.0)
    with pytest.raises(BackendError):
        stage.ask(0.0, STAGED)


def test_other_arms_than_the_kits_are_refused():
    parameters = PolicyParameters(
        backend="expert", arms=("right", "left"), urdf_prefixes=("right_", "left_")
    )
    with pytest.raises(ParameterError, match=r"needs the arms \['left', 'right'\], the node has"):
        make_backend("expert", BackendContext(parameters))
