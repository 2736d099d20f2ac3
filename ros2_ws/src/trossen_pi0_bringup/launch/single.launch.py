"""One arm, its cameras and a policy: ``ros2 launch trossen_pi0_bringup single.launch.py``."""

from trossen_pi0_bringup.launching import launch_description
from trossen_pi0_bringup.nodes import node_specs
from trossen_pi0_bringup.single import SINGLE_LAUNCH_ARGUMENTS, SINGLE_LAUNCH_FILE


def generate_launch_description():
    """The launch description, made from the tables of arguments and nodes."""
    return launch_description(SINGLE_LAUNCH_ARGUMENTS, node_specs, SINGLE_LAUNCH_FILE)
