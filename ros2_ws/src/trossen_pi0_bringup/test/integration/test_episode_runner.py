"""The operator of whole episodes, alone in its graph."""

import pytest
from domain_coordinator import domain_id

from trossen_pi0_bringup.episodes import EpisodeRunner
from trossen_pi0_bringup.supervisor import StackError


@pytest.fixture
def runner(monkeypatch):
    with domain_id() as number:
        monkeypatch.setenv("ROS_DOMAIN_ID", str(number))
        made = EpisodeRunner({})
        yield made
        made.close()


def test_all_that_an_episode_needs_is_waited_for(runner):
    with pytest.raises(StackError) as caught:
        runner.wait_until_ready(0.2, lambda: None)
    needed = ("/sim/reset", "/arm_controller/status", "/arm_controller/move_to", "/policy/run")
    for name in (*needed, "/sim/status", "/joint_states", "/policy/status"):
        assert f"({name})" in str(caught.value)
