"""What is replayed of an episode, and which episodes are refused."""

import pytest

from fixtures.bags import BEGAN_NS, Episode
from trossen_pi0_core.contract import CAMERAS
from trossen_pi0_core.errors import EpisodeError, ParameterError
from trossen_pi0_core.parameters import ReplayParameters
from trossen_pi0_data.replay_plan import plan_replay

PICTURES = tuple(f"/{camera}/color/image_raw" for camera in CAMERAS)


def plan(folder, **values):
    return plan_replay(ReplayParameters(episode=str(folder), **values))


@pytest.fixture
def folder(tmp_path):
    return Episode("one", seconds=1.0, size=(16, 32)).write(tmp_path)


def test_pictures_and_joint_states_are_played_in_order(folder):
    played = plan(folder)
    assert set(played.topics) == {"/joint_states", *PICTURES}
    messages = list(played.messages())
    assert len(messages) == 100 + 4 * 30
    assert [m.log_ns for m in messages] == sorted(m.log_ns for m in messages)
    assert played.track is None
    assert played.duration_s == pytest.approx(0.99)


def test_a_part_of_chosen_topics_is_played(folder):
    played = plan(folder, start_s=0.25, duration_s=0.5, topics=("/joint_states",))
    stamps = [message.log_ns for message in played.messages()]
    assert stamps[0] == BEGAN_NS + 250_000_000
    assert stamps[-1] == BEGAN_NS + 740_000_000
    assert len(stamps) == 50


def test_actions_are_read(folder):
    played = plan(folder, mode="actions", start_s=0.2)
    assert played.track is not None
    assert played.duration_s == pytest.approx(0.79)


def test_a_truncated_episode_is_played_as_far_as_it_goes(tmp_path):
    whole = plan(Episode("whole", seconds=2.0).write(tmp_path))
    torn = plan(Episode("torn", seconds=2.0, truncate=0.4).write(tmp_path))
    count = len(list(torn.messages()))
    assert 0 < count < len(list(whole.messages()))
    assert torn.reader.problems


@pytest.mark.parametrize(
    ("values", "error", "message"),
    [
        ({"start_s": 5.0}, ParameterError, r"start_s: 5 s lies behind the end .* 0\.990 s long"),
        ({"topics": ("/nothing",)}, EpisodeError, r"no messages of \['/nothing'\]; it has \["),
        ({"mode": "actions", "loop": True}, ParameterError, "loop: only for mode 'observations'"),
        ({"mode": "actions", "rate": 0.0}, ParameterError, r"rate: 0 lies outside \[0\.05, 2"),
        ({"mode": "actions", "rate": 3.0}, ParameterError, r"rate: 3 lies outside \[0\.05, 2"),
        ({"awaits": ("/nothing",)}, ParameterError, r"awaits: \['/nothing'\] are not published"),
        ({"topics": ("/clock",)}, ParameterError, "/clock is made by the replay node itself"),
    ],
)
def test_what_the_episode_does_not_have_is_refused(folder, values, error, message):
    with pytest.raises(error, match=message):
        plan(folder, **values)


def test_no_episode_is_refused():
    with pytest.raises(ParameterError, match="episode: need the folder of an episode, got none"):
        plan_replay(ReplayParameters())


def test_a_folder_without_a_bag_is_refused(tmp_path):
    with pytest.raises(EpisodeError, match=r"has no \.mcap file, only nothing"):
        plan(tmp_path)


def test_an_empty_episode_is_refused(tmp_path):
    silent = dict.fromkeys(("/joint_states", "/arm_controller/command", *PICTURES), 0.0)
    with pytest.raises(EpisodeError, match="has no messages"):
        plan(Episode("empty", stop_s=silent).write(tmp_path))


def test_a_camera_without_pictures_is_refused(tmp_path):
    blind = Episode("blind", stop_s={PICTURES[2]: 0.0}).write(tmp_path)
    with pytest.raises(EpisodeError, match=r"no messages of \['/cam_left_wrist/color/image_raw'\]"):
        plan(blind)
