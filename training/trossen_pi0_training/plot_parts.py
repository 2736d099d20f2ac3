"""What the plots of the reports have in common."""

from __future__ import annotations

STATE, ACTION = "#1f6fb4", "#e07b1a"
"""Colours of what was measured and of what was commanded."""


def short_name(name: str) -> str:
    """A joint's data-set name as an axis shows it."""
    return name.removesuffix(".pos").replace("_left_carriage_joint", "_gripper")
