"""Both arms, four cameras and a policy: ``ros2 launch trossen_pi0_bringup bimanual.launch.py``."""

from trossen_pi0_bringup.launching import launch_description


def generate_launch_description():
    """The launch description, made from the tables of arguments and nodes."""
    return launch_description()
