"""Which of the ROS packages that describe robots are installed. Imports nothing that takes time."""

from __future__ import annotations

import importlib.util

from ament_index_python.packages import PackageNotFoundError, get_package_share_directory

VENDORS = "trossen_arm_description"
ROBOT_STATE_PUBLISHER = "robot_state_publisher"


def is_installed(package: str) -> bool:
    """Whether there is a ROS package of this name."""
    try:
        get_package_share_directory(package)
    except PackageNotFoundError:
        return False
    return True


def has_vendors_description() -> bool:
    """Whether the vendor's description is there, and xacro, in which it is written."""
    return is_installed(VENDORS) and importlib.util.find_spec("xacro") is not None
