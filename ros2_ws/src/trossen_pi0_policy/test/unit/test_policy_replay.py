"""Replaying a file."""

from __future__ import annotations

import numpy as np
import pytest

from trossen_pi0_core.contract import NANOSECONDS, Observation
from trossen_pi0_core.errors import BackendError
from trossen_pi0_core.joints import JointMap
from trossen_pi0_core.parameters import PolicyParameters
from trossen_pi0_policy.backends import BackendContext, InferenceRequest, make_backend
from trossen_pi0_policy.backends.replay import Recording

JOINTS = JointMap()
ROWS = np.linspace(0.0, 1.4, 15)[:, None] * np.ones(14)  # 0.1 rad a row


def save(path, **changes):
    fields = {
        "positions": ROWS,
        "joint_names": np.array(JOINTS.urdf_names),
        "rate_hz": 10.0,
        **changes,
    }
    np.savez(path, **{key: value for key, value in fields.items() if value is not None})
    return path


def backend(path, **parameters):
    parameters = PolicyParameters(backend="replay", replay_file=str(path), **parameters)
    return make_backend("replay", BackendContext(parameters))


def request(seconds, joint, rate_hz=30.0):
    state = np.full(14, joint)
    stamp = round(seconds * NANOSECONDS)
    observation = Observation(stamp, JOINTS.urdf_names, state, {})
    return InferenceRequest(observation, round(NANOSECONDS / rate_hz))


def test_rows_are_resampled_to_the_control_rate(tmp_path):
    replay = backend(save(tmp_path / "a.npz"), replay_horizon=4)
    replay.prepare()
    replay.begin_run("", 0)
    answer = replay.infer(request(100.0, 0.0))
    np.testing.assert_allclose(answer.positions[:, 3], [0, 1 / 30, 2 / 30, 0.1], atol=1e-9)
    assert answer.positions.shape == (4, 14)


def test_a_run_goes_on_in_time_and_ends_and_the_next_begins_anew(tmp_path):
    replay = backend(save(tmp_path / "a.npz"))
    replay.begin_run("", 0)
    assert replay.infer(request(100.0, 0.0)).positions[0, 0] == 0.0
    np.testing.assert_allclose(replay.infer(request(101.0, 1.0)).positions[0, 0], 1.0, atol=1e-6)
    answer = replay.infer(request(102.0, 1.4))
    assert answer.done
    np.testing.assert_allclose(answer.positions, 1.4)
    replay.begin_run("", 0)
    assert replay.infer(request(103.0, 0.0)).positions[0, 0] == 0.0


@pytest.mark.parametrize("names", [JOINTS.urdf_names, JOINTS.dataset_names])
def test_joints_are_found_by_either_name_in_any_order(tmp_path, names):
    positions = np.tile(np.arange(14.0), (2, 1))[:, ::-1]
    path = save(tmp_path / "a.npz", positions=positions, joint_names=np.array(names[::-1]))
    recording = Recording.load(path, JOINTS)
    assert recording.sample(0.0)[0].tolist() == list(range(14))


def test_a_single_row_is_a_pose(tmp_path):
    recording = Recording.load(save(tmp_path / "a.npz", positions=ROWS[:1]), JOINTS)
    assert recording.duration_s == 0.0
    assert recording.sample(np.array([0.0, 5.0])).shape == (2, 14)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"positions": None}, "needs .* are missing|missing"),
        ({"joint_names": None, "rate_hz": None}, r"\['joint_names', 'rate_hz'\] are missing"),
        ({"positions": ROWS[:, :13]}, "14 joint names but values of shape"),
        ({"positions": ROWS[0]}, r"shape \(rows >= 1, joints\), got float64 \(14,\)"),
        ({"positions": ROWS[:0]}, "rows >= 1"),
        ({"positions": ROWS.astype(str)}, "must be numbers"),
        ({"positions": np.where(np.arange(14) == 3, np.nan, ROWS)}, "row 0 for .*left_joint_3"),
        ({"joint_names": np.array([f"j{i}" for i in range(14)])}, "joints missing"),
        ({"rate_hz": 0.0}, "greater than 0, got 0.0"),
        ({"rate_hz": np.nan}, "greater than 0, got nan"),
        ({"rate_hz": np.array([30.0, 30.0])}, "must be one number"),
        ({"rate_hz": "30"}, "must be one number"),
    ],
)
def test_bad_files_are_refused(tmp_path, changes, says):
    path = save(tmp_path / "a.npz", **changes)
    with pytest.raises(BackendError, match=says):
        backend(path)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(BackendError, match=r"there is no file .*nothing\.npz"):
        backend(tmp_path / "nothing.npz")


@pytest.mark.parametrize("content", [b"", b"rubbish", b"PK\x03\x04rubbish"])
def test_rubbish_is_no_npz_file(tmp_path, content):
    path = tmp_path / "a.npz"
    path.write_bytes(content)
    with pytest.raises(BackendError, match=r"is not an \.npz file"):
        backend(path)


def test_a_single_array_and_pickles_are_no_npz_file(tmp_path):
    np.save(tmp_path / "a.npy", ROWS)
    with pytest.raises(BackendError, match=r"is not an \.npz file"):
        backend(tmp_path / "a.npy")
    path = save(tmp_path / "b.npz", joint_names=np.array([object()] * 14))
    with pytest.raises(BackendError, match="pickle"):
        backend(path)


def test_a_folder_is_no_npz_file(tmp_path):
    with pytest.raises(BackendError, match=r"is not an \.npz file"):
        backend(tmp_path)
