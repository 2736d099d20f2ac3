"""What the plots of the reports have in common."""

from __future__ import annotations

import base64
import io

from matplotlib.figure import Figure

STATE, ACTION = "#1f6fb4", "#e07b1a"
"""Colours of what was measured and of what was commanded."""


def short_name(name: str) -> str:
    """A joint's data-set name as an axis shows it."""
    return name.removesuffix(".pos").replace("_left_carriage_joint", "_gripper")


def data_uri(figure: Figure, dpi: int = 90) -> str:
    """A figure as a PNG in a data URI."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=dpi)
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()
