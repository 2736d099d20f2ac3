"""The plots of the offline report, as data URIs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import ArrayLike, NDArray

from trossen_pi0_data.page_parts import png_uri
from trossen_pi0_training.offline.evaluation import BEST, HOLD, POLICY, VELOCITY
from trossen_pi0_training.offline.moments import Moment
from trossen_pi0_training.offline.sources import JOINTS
from trossen_pi0_training.plot_parts import ACTION, STATE, short_name
from trossen_pi0_training.survey import is_gripper

PREDICTED = "#7a3fa8"
"""Colour of what the policy says."""

_LINES = {
    POLICY: (PREDICTED, "-"),
    BEST: (PREDICTED, "--"),
    HOLD: ("#8a949e", "-"),
    VELOCITY: ("#8a949e", "--"),
}
_OTHERS = ("#24713f", "#b8860b", "#a31f1f", "#1f6fb4")
_SHOWN_JOINTS = 6


def plot_steps(
    found: Mapping[str, Any], others: Mapping[str, Mapping[str, Any]], executed: Sequence[int]
) -> str:
    """Error by step ahead, of the policy, of those that know nothing, and of other evaluations."""
    figure = Figure(figsize=(9, 3.2), layout="constrained")
    axis = figure.subplots()
    rate_hz = found["settings"]["rate_hz"]
    axis.axvspan(executed[0] / rate_hz, (executed[1] - 1) / rate_hz, color="#f1f3f5", lw=0)
    for name, each in found["predictors"].items():
        colour, dashes = _LINES[name]
        curve = _percent(each["normalised_steps"])
        axis.plot(np.arange(len(curve)) / rate_hz, curve, dashes, color=colour, lw=1.6, label=name)
    for (name, other), colour in zip(others.items(), _OTHERS * len(others), strict=False):
        curve = _percent(other["predictors"][POLICY]["normalised_steps"])
        times = np.arange(len(curve)) / other["settings"]["rate_hz"]
        axis.plot(times, curve, color=colour, lw=1.6, label=name)
    axis.set_xlabel("time ahead [s]; grey: executed", fontsize=8)
    axis.set_ylabel("error [% of range]", fontsize=8)
    axis.set_ylim(bottom=0)
    axis.grid(alpha=0.3)
    axis.tick_params(labelsize=7)
    axis.legend(fontsize=7, frameon=False)
    return png_uri(figure)


def plot_joint_steps(found: Mapping[str, Any]) -> str:
    """Error of each joint by step ahead, as colours."""
    steps = np.array(found["predictors"][POLICY]["steps"], float).T
    parts = 100 * steps / np.array(found["range"], float)[:, None]
    if not np.isfinite(parts).any():
        return ""
    names = [short_name(name) for name in found["joints"]]
    figure = Figure(figsize=(9, 0.22 * len(names) + 0.9), layout="constrained")
    axis = figure.subplots()
    rate_hz = found["settings"]["rate_hz"]
    extent = (-0.5 / rate_hz, (parts.shape[1] - 0.5) / rate_hz, len(names) - 0.5, -0.5)
    shown = axis.imshow(parts, aspect="auto", cmap="magma_r", vmin=0, extent=extent)
    axis.set_yticks(range(len(names)), names, fontsize=7)
    axis.set_xlabel("time ahead [s]; white: the joint rests", fontsize=8)
    axis.tick_params(axis="x", labelsize=7)
    bar = figure.colorbar(shown, ax=axis, pad=0.01)
    bar.set_label("error [% of range]", fontsize=7)
    bar.ax.tick_params(labelsize=7)
    return png_uri(figure)


def plot_along(found: Mapping[str, Any]) -> str:
    """Error of each moment over the time of its episode; a line for each, and their median."""
    figure = Figure(figsize=(9, 2.6), layout="constrained")
    axis = figure.subplots()
    episodes = found["episodes"]
    for each in episodes:
        axis.plot(
            each["times_s"],
            _percent(each["moment_errors"]),
            color=PREDICTED,
            lw=0.8,
            alpha=max(0.12, min(0.8, 4 / len(episodes))),
            marker="." if len(each["times_s"]) < 3 else None,
        )
    if len(episodes) > 2:
        times_s = np.concatenate([each["times_s"] for each in episodes])
        errors = np.concatenate([_percent(each["moment_errors"]) for each in episodes])
        edges = np.arange(0, times_s.max() + 1, 1.0)
        place = np.digitize(times_s, edges)
        inside = [i for i in np.unique(place) if (place == i).any()]
        medians = [float(np.median(errors[place == i])) for i in inside]
        middles = edges[np.array(inside) - 1] + 0.5
        axis.plot(middles, medians, color="#1d242b", lw=1.6, label="median of each second")
        axis.legend(fontsize=7, frameon=False)
    axis.set_xlabel("time in the episode [s]", fontsize=8)
    axis.set_ylabel("error [% of range]", fontsize=8)
    axis.set_ylim(bottom=0)
    axis.grid(alpha=0.3)
    axis.tick_params(labelsize=7)
    return png_uri(figure)


def plot_moment(moment: Moment, scale: NDArray[np.float64], rate_hz: float) -> str:
    """Predicted chunks against what was recorded, for the joints that are most wrong."""
    wrong = joints_by_error(moment, scale)[:_SHOWN_JOINTS]
    figure = Figure(figsize=(9, 3.4), layout="constrained")
    axes = figure.subplots(2, _SHOWN_JOINTS // 2, squeeze=False).flatten()
    ahead = np.arange(len(moment.recorded.valid)) / rate_hz
    behind = np.arange(-len(moment.before), 0) / rate_hz
    for axis, joint in zip(axes, wrong, strict=False):
        real = np.concatenate([moment.before[:, joint], moment.recorded.actions[:, joint]])
        axis.plot(np.concatenate([behind, ahead]), real, color=ACTION, lw=1.4, label="recorded")
        for i, chunk in enumerate(moment.chunks):
            label = "predicted" if i == 0 else None
            alpha = max(0.25, 1 / np.sqrt(len(moment.chunks)))
            axis.plot(ahead, chunk[:, joint], color=PREDICTED, lw=1.2, alpha=alpha, label=label)
        axis.plot([0], [moment.state[joint]], "o", color=STATE, ms=4, label="state")
        name = JOINTS.dataset_names[joint]
        axis.set_title(f"{short_name(name)} [{'m' if is_gripper(name) else 'rad'}]", fontsize=7)
        axis.tick_params(labelsize=6)
        axis.grid(alpha=0.3)
    for axis in axes[len(wrong) :]:
        axis.set_axis_off()
    axes[0].legend(fontsize=6, frameon=False)
    return png_uri(figure)


def joints_by_error(moment: Moment, scale: NDArray[np.float64]) -> list[int]:
    """Joints that move, by their error as a part of their range, the most wrong first."""
    parts = moment.joint_errors / scale
    return [int(i) for i in np.argsort(-np.nan_to_num(parts, nan=-1.0)) if np.isfinite(parts[i])]


def _percent(values: ArrayLike) -> NDArray[np.float64]:
    return 100 * np.asarray(values, dtype=np.float64)
