"""What ruins training is found in episodes that have it, and in no others."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fixtures.handovers import Handover
from trossen_pi0_training.episode_source import Motion, RecordedEpisode
from trossen_pi0_training.survey import Survey, lags, survey
from trossen_pi0_training.warning_signs import alike, joint_limits, signs_of


def kinds(folder: Path) -> list[str]:
    return [sign.kind for sign in signs_of(survey(RecordedEpisode(folder)))]


def of(tmp_path: Path, **changes: Any) -> Survey:
    return survey(RecordedEpisode(Handover("one", **changes).write(tmp_path)))


def test_a_good_episode_has_no_signs(tmp_path):
    found = of(tmp_path)
    assert [sign.text for sign in signs_of(found)] == []
    assert found.problems == ()
    assert (found.frames, found.missing, found.dropped) == (120, 0, 0)
    assert found.duration_s == pytest.approx(3.99)
    assert found.topics["/joint_states"].rate_hz == pytest.approx(100, abs=0.1)
    assert found.topics["/cam_low/color/image_raw"].rate_hz == pytest.approx(30, abs=0.5)
    assert all(np.abs(v).max() <= 0.0051 for v in found.offsets_s.values())
    assert {len(uris) for uris in found.thumbnails.values()} == {3}


@pytest.mark.parametrize(
    ("changes", "kind", "text"),
    [
        ({"prompt": " "}, "no prompt", "it has no prompt"),
        ({"truncate": 0.3}, "recording", "one_0.mcap has no footer: its recorder was killed"),
        ({"state": "recording"}, "recording", "it was never ended"),
        ({"outcome": "failure"}, "failure", "its outcome is failure"),
        ({"still": True}, "static", "no joint moves in the whole episode"),
        ({"frozen": "cam_low"}, "frozen camera", "cam_low shows the same picture for 3.0 s"),
        ({"frozen": "cam_left_wrist"}, "frozen camera", "cam_left_wrist shows the same picture"),
        ({"swapped": True}, "swapped wrists", "cam_left_wrist moves with the right arm"),
        ({"swapped": True}, "swapped wrists", "cam_right_wrist moves with the left arm"),
        ({"clipped": True}, "clipped joint", "right_joint_3.pos is commanded to its"),
        (
            {"grips": (False, False)},
            "gripper never closes",
            "left_left_carriage_joint.pos stays",
        ),
        ({"grips": (True, False)}, "gripper never closes", "right_left_carriage_joint.pos stays"),
        ({"idle_s": 1.5}, "idle start", "nothing moves in the first 1.5 s"),
        (
            {"stop_s": {"/cam_high/color/image_raw": 3.0}},
            "missing frames",
            "frames could not be made",
        ),
        (
            {"shift_ns": {"cam_high": lambda _: -40_000_000}},
            "camera sync",
            "pictures lie up to so far from their joint states: cam_high 4",
        ),
    ],
)
def test_each_defect_is_found(tmp_path, changes, kind, text):
    signs = signs_of(of(tmp_path, **changes))
    found = [sign for sign in signs if sign.kind == kind and text in sign.text]
    assert found, [(sign.kind, sign.text) for sign in signs]
    severe = kind not in ("failure", "idle start", "camera sync") and "grips" not in changes
    assert found[0].severe == (severe or changes.get("grips") == (False, False))


def test_a_swap_is_no_other_defect(tmp_path):
    assert {sign.kind for sign in signs_of(of(tmp_path, swapped=True))} == {"swapped wrists"}


def test_an_idle_end_is_found(tmp_path):
    episode = Handover("one", seconds=4.0)
    moves = episode.positions
    episode.positions = lambda time_s, lead_s=0.0: moves(min(time_s, 2.5), lead_s)
    found = signs_of(survey(RecordedEpisode(episode.write(tmp_path))))
    assert [(s.kind, s.text) for s in found if s.kind == "idle end"] == [
        ("idle end", "nothing moves in the last 1.5 s")
    ]


def test_the_lag_is_that_of_the_motion(tmp_path):
    lags_s = of(tmp_path, lag_s=0.12).lags_s
    assert np.isfinite(lags_s).all()
    np.testing.assert_allclose(lags_s, 0.12, atol=0.012)


def test_resting_joints_have_no_lag():
    times = np.arange(300) / 100
    moves = np.stack([np.sin(3 * times), np.zeros(300)], axis=1)
    late = np.stack([np.sin(3 * (times - 0.055)), np.zeros(300)], axis=1)
    moving, resting = lags(Motion(100.0, moves, late), [False, False])
    assert moving == pytest.approx(0.055, abs=1e-3)
    assert np.isnan(resting)


def test_two_episodes_with_the_same_commands_are_alike(tmp_path):
    found = [
        survey(RecordedEpisode(Handover(name, seed=seed).write(tmp_path)))
        for name, seed in (("a", 0), ("b", 1), ("c", 0))
    ]
    assert alike(found) == [("a", "c")]


def test_the_limits_are_those_of_the_arms():
    lower, upper = joint_limits(["left_joint_1.pos", "right_left_carriage_joint.pos", "tool"])
    assert lower[:2].tolist() == [0.0, 0.0]
    assert upper[:2].tolist() == [3.1415, 0.04]
    assert np.isnan(upper[2])
