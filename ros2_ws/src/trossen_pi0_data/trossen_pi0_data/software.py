"""Which software records. ROS-free."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import subprocess
from pathlib import Path

from trossen_pi0_data.episode_info import SoftwareInfo

_GIT_TIMEOUT_S = 2.0


def software_info() -> SoftwareInfo:
    """Versions of what runs in this process."""
    return SoftwareInfo(
        trossen_pi0=_version("trossen_pi0_data") or "unknown",
        git=_commit(Path(__file__).resolve().parent),
        ros_distro=os.environ.get("ROS_DISTRO", ""),
        python=platform.python_version(),
        trossen_arm=_version("trossen-arm") or None,
    )


def _version(distribution: str) -> str:
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return ""


def _commit(folder: Path) -> str | None:
    """The commit that the sources are of; None when they are not in a git repository."""
    try:
        done = subprocess.run(
            ["git", "-C", str(folder), "rev-parse", "HEAD"],
            capture_output=True,
            text=True,
            timeout=_GIT_TIMEOUT_S,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() or None
