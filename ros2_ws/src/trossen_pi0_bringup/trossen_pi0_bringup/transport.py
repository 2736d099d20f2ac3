"""The DDS transport that pictures need."""

from __future__ import annotations

import os

from trossen_pi0_bringup.nodes import shipped

# Fast DDS reads the first name; the releases before 3.0, such as Jazzy's, also know the second.
PROFILE_VARIABLES = ("FASTDDS_DEFAULT_PROFILES_FILE", "FASTRTPS_DEFAULT_PROFILES_FILE")


def transport_environment() -> dict[str, str]:
    """Variables that give every process the shipped transport; none where the user has set one."""
    if any(os.environ.get(name) for name in PROFILE_VARIABLES):
        return {}
    path = str(shipped("config", "fastdds.xml"))
    return dict.fromkeys(PROFILE_VARIABLES, path)
