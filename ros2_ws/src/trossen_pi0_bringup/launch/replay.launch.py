"""Replays an episode: ``ros2 launch trossen_pi0_bringup replay.launch.py episode:=FOLDER``."""

from trossen_pi0_bringup.launching import launch_description
from trossen_pi0_bringup.replay_nodes import (
    REPLAY_LAUNCH_ARGUMENTS,
    REPLAY_LAUNCH_FILE,
    replay_specs,
)


def generate_launch_description():
    """The launch description, made from the tables of arguments and nodes."""
    return launch_description(REPLAY_LAUNCH_ARGUMENTS, replay_specs, REPLAY_LAUNCH_FILE)
