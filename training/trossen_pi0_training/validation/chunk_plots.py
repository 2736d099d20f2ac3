"""Pictures of recorded and predicted chunks."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.typing import NDArray

_COLUMNS = 7


def plot_chunks(
    file: Path,
    title: str,
    joints: Sequence[str],
    recorded: Sequence[NDArray[np.float32]],
    predicted: Sequence[NDArray[np.float32]],
) -> Path:
    """Draws a panel for each joint, a pair of lines for each chunk.

    Args:
        file: PNG to write; its folder is made.
        title: above the panels.
        joints: names.
        recorded: chunks, each of shape (rows, joints) [rad; m for carriages].
        predicted: likewise.

    Returns:
        The file.
    """
    rows = -(-len(joints) // _COLUMNS)
    figure = Figure(figsize=(2.4 * _COLUMNS, 2.1 * rows + 0.8), layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(rows, _COLUMNS, squeeze=False).ravel()
    for j, (panel, joint) in enumerate(zip(panels, joints, strict=False)):
        for i, (true, guess) in enumerate(zip(recorded, predicted, strict=True)):
            panel.plot(true[:, j], color=f"C{i}", label="recorded" if i == 0 else None)
            panel.plot(guess[:, j], color=f"C{i}", ls="--", label="predicted" if i == 0 else None)
        panel.set_title(joint.removesuffix(".pos"), fontsize=8)
        panel.tick_params(labelsize=7)
    for panel in panels[len(joints) :]:
        panel.set_axis_off()
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=2)
    figure.suptitle(f"{title} [rad; m for carriages] over rows")
    file.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(file, dpi=80)
    return file
