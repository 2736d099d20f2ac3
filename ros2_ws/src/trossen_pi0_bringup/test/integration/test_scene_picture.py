"""The moment that the picture of a run shows, and the picture."""

import numpy as np
import pytest
from PIL import Image

from fixtures.robots import sliding_kit
from trossen_pi0_bringup.recording import EpisodeRecording
from trossen_pi0_bringup.scene_moment import MomentKeeper
from trossen_pi0_bringup.scene_picture import draw_scene, moment_strokes
from trossen_pi0_core.contract import ActionChunk
from trossen_pi0_core.errors import DescriptionError
from trossen_pi0_core.joints import JointMap
from trossen_pi0_description.kit import describe_kit
from trossen_pi0_description.writing import to_urdf
from trossen_pi0_msgs.msg import ControllerStatus, GroundTruth, PolicyStatus
from trossen_pi0_ros.convert import chunk_to_msg, joint_state_msg, time_msg
from trossen_pi0_sim.expert import STAGED

NAMES = JointMap().urdf_names
SECOND = 1_000_000_000
PERIOD = SECOND // 30
ROWS = 30
BEGUN = 5 * SECOND


def recorded(state=ControllerStatus.EXECUTING):
    """A run of two seconds at rest, then of whatever chunks are added."""
    recording = EpisodeRecording(begun_ns=BEGUN)
    recording.add_controller(ControllerStatus(state=state, run_id="run", mode="autonomous"))
    recording.add_policy(PolicyStatus(state=PolicyStatus.RUNNING, backend="expert"))
    truth = GroundTruth(variant="red_cube")
    truth.header.stamp = time_msg(BEGUN)
    truth.object_pose.position.z = 0.04
    truth.object_pose.orientation.w = 1.0
    recording.add_truth(truth)
    for i in range(100):
        recording.add_measured(joint_state_msg(BEGUN + i * SECOND // 100, NAMES, np.array(STAGED)))
    return recording


def add_chunk(recording, number, travel_left, travel_right, run="run"):
    """Due from ``number`` seconds on; so far each arm's first joint turns [rad]."""
    positions = np.tile(STAGED, (ROWS, 1))
    ramp = np.linspace(0.0, 1.0, ROWS)
    positions[:, 0] += travel_left * ramp
    positions[:, 7] += travel_right * ramp
    begin = BEGUN + number * SECOND
    chunk = ActionChunk(run, number, begin, begin, PERIOD, NAMES, positions)
    recording.add_chunk(chunk_to_msg(chunk, begin))
    return begin


def looked_at(chunks, at_rows=10):
    """The best moment for one who looks once at each chunk, so many rows after its beginning."""
    recording, keeper = recorded(), MomentKeeper()
    for number, travels in enumerate(chunks, start=1):
        keeper.look(recording, add_chunk(recording, number, *travels) + at_rows * PERIOD)
    assert keeper.best is not None
    return keeper.best


def test_the_moment_with_most_motion_of_both_arms_is_kept():
    best = looked_at([(0.1, 0.1), (0.8, 0.0), (0.3, 0.3), (0.0, 0.7)])
    assert [chunk.chunk_id for chunk in best.plans] == [2, 3]
    assert best.now_ns == BEGUN + 3 * SECOND + 10 * PERIOD
    assert best.elapsed_s(EpisodeRecording(begun_ns=BEGUN)) == pytest.approx(3.333, abs=1e-3)
    assert len(best.stamps_ns) == len(best.positions) == 100


def test_within_a_chunk_the_moment_after_a_third_is_kept():
    recording, keeper = recorded(), MomentKeeper()
    add_chunk(recording, 1, 0.2, 0.2)
    begin = add_chunk(recording, 2, 0.2, 0.2)
    for row in range(ROWS):
        keeper.look(recording, begin + row * PERIOD)
    assert keeper.best is not None
    assert keeper.best.now_ns == begin + 10 * PERIOD


@pytest.mark.parametrize("missing", ["policy", "controller", "truth", "plans", "run", "execution"])
def test_no_moment_without_all_that_is_shown(missing):
    state = ControllerStatus.RAMPING if missing == "execution" else ControllerStatus.EXECUTING
    recording, keeper = recorded(state), MomentKeeper()
    if missing in ("policy", "controller", "truth"):
        setattr(recording, missing, None)
    if missing != "plans":
        add_chunk(recording, 1, 0.2, 0.2, run="another" if missing == "run" else "run")
    keeper.look(recording, add_chunk(recording, 2, 0.2, 0.2))
    assert keeper.best is None


def test_strokes_are_those_of_the_markers():
    best = looked_at([(0.1, 0.1), (0.3, 0.3)])
    strokes = {(s.group, s.number): s for s in moment_strokes(best, sliding_kit())}
    done = strokes["executed/left", 0].points
    assert len(done) == 11  # rows 0 to 10
    np.testing.assert_allclose(done[-1, 0], 0.3 * 10 / 29, atol=1e-9)
    assert len(strokes["plan/left", 1].points) == ROWS
    assert len(strokes["gone/right", 0].points) > 20
    with pytest.raises(DescriptionError, match="no XML"):
        moment_strokes(best, "")


def test_the_picture_shows_plans_and_status(tmp_path):
    best = looked_at([(-0.5, 0.5), (-0.6, 0.6)])
    path = tmp_path / "scene.png"
    draw_scene(best, to_urdf(describe_kit()), path, "seed 3, 2.3 s")
    with Image.open(path) as image:
        picture = np.asarray(image.convert("RGB")).astype(int)
    assert picture.shape == (720, 1280, 3)
    red, green, blue = np.moveaxis(picture[:, 400:], 2, 0)  # right of status and legend
    assert ((green > 180) & (red < 90) & (blue < 140)).sum() > 100  # the newest plan
    text = picture[14:60, 14:320].min(axis=2)
    assert (text > 200).sum() > 100  # white letters
    assert (text < 80).mean() > 0.5  # on a dark box
