"""The plots of the data report, as data URIs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from trossen_pi0_data.page_parts import png_uri
from trossen_pi0_training.plot_parts import ACTION, STATE, short_name
from trossen_pi0_training.survey import Survey, is_gripper
from trossen_pi0_training.warning_signs import joint_limits

_JOINTS_PER_ROW = 7


def plot_joints(episode: Survey) -> str:
    """Measured and commanded position of each joint over time."""
    count = len(episode.joint_names)
    rows = -(-count // _JOINTS_PER_ROW)
    figure = Figure(figsize=(14, 1.7 * rows), layout="constrained")
    axes = figure.subplots(rows, min(count, _JOINTS_PER_ROW), squeeze=False)
    for i, axis in enumerate(axes.flat):
        if i >= count:
            axis.set_axis_off()
            continue
        axis.plot(episode.times_s, episode.action[:, i], color=ACTION, lw=1.0)
        axis.plot(episode.times_s, episode.state[:, i], color=STATE, lw=1.0)
        unit = "m" if is_gripper(episode.joint_names[i]) else "rad"
        axis.set_title(f"{short_name(episode.joint_names[i])} [{unit}]", fontsize=7)
        axis.tick_params(labelsize=6)
    return png_uri(figure)


def plot_ranges(episodes: Sequence[Survey]) -> str:
    """The range of each joint over all episodes as a part of the range that its limits allow."""
    names = episodes[0].joint_names
    lower, upper = joint_limits(names)
    figure = Figure(figsize=(9, 0.26 * len(names) + 0.8), layout="constrained")
    axis = figure.subplots()
    places = np.arange(len(names))[::-1]
    axis.barh(places, 1.0, color="#e8ebee", height=0.8)
    for kind, colour, height in (("action", ACTION, 0.62), ("state", STATE, 0.34)):
        low, high = value_range(episodes, kind)
        left, right = ((v - lower) / (upper - lower) for v in (low, high))
        axis.barh(places, right - left, left=left, color=colour, height=height, label=kind)
    axis.set_yticks(places, [short_name(name) for name in names], fontsize=7)
    axis.set_xlim(-0.05, 1.05)
    axis.set_xticks([0, 0.5, 1], ["lower limit", "middle", "upper limit"], fontsize=7)
    axis.legend(fontsize=7, loc="upper center", bbox_to_anchor=(0.5, 1.1), ncols=2, frameon=False)
    return png_uri(figure)


def plot_sync(episodes: Sequence[Survey]) -> str:
    """How far the pictures of each camera lie from their joint states."""
    cameras = [camera for camera in episodes[0].cameras if offsets(episodes, camera).size]
    if not cameras:
        return ""
    figure = Figure(figsize=(9, 2.4), layout="constrained")
    all_axes = figure.subplots(1, len(cameras), sharey=True, sharex=True, squeeze=False)[0]
    for axis, camera in zip(all_axes, cameras, strict=True):
        values_ms = np.abs(offsets(episodes, camera)) * 1e3
        axis.hist(values_ms, bins=np.arange(0, max(20.0, values_ms.max()) + 2, 1), color=STATE)
        axis.set_title(camera, fontsize=8)
        axis.set_xlabel("|picture - joint state| [ms]", fontsize=7)
        axis.set_yscale("log")
        axis.set_ylim(bottom=0.5)
        axis.tick_params(labelsize=7)
    all_axes[0].set_ylabel("frames", fontsize=7)
    return png_uri(figure)


def plot_lags(episodes: Sequence[Survey]) -> str:
    """By how much each joint follows its command, a point for each episode."""
    names = episodes[0].joint_names
    lags_ms = np.array([episode.lags_s for episode in episodes]) * 1e3
    if not np.isfinite(lags_ms).any():
        return ""
    figure = Figure(figsize=(9, 2.6), layout="constrained")
    axis = figure.subplots()
    for column in range(len(names)):
        points = lags_ms[:, column][np.isfinite(lags_ms[:, column])]
        axis.plot(np.full(len(points), column), points, "o", color=STATE, ms=3, alpha=0.5)
    axis.set_xticks(
        range(len(names)), [short_name(n) for n in names], fontsize=7, rotation=40, ha="right"
    )
    axis.set_ylabel("lag [ms]", fontsize=7)
    axis.set_ylim(0, 1.15 * float(np.nanmax(lags_ms)) + 1)
    axis.grid(axis="y", alpha=0.3)
    axis.tick_params(labelsize=7)
    return png_uri(figure)


def plot_durations(episodes: Sequence[Survey]) -> str:
    """How long the episodes are."""
    figure = Figure(figsize=(9, 2.2), layout="constrained")
    axis: Axes = figure.subplots()
    colours: Mapping[str, str] = {"success": "#3c9a5f", "failure": "#c23b3b"}
    places = range(len(episodes))
    axis.bar(
        places,
        [episode.duration_s for episode in episodes],
        color=[colours.get(episode.outcome, "#8a949e") for episode in episodes],
    )
    axis.xaxis.set_major_locator(MaxNLocator(integer=True))
    axis.set_ylabel("duration [s]", fontsize=7)
    axis.set_xlabel("episode; green: success, red: failure, grey: unknown", fontsize=7)
    axis.tick_params(labelsize=7)
    return png_uri(figure)


def value_range(
    episodes: Sequence[Survey], kind: str
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Lowest and highest ``state`` or ``action`` of each joint over episodes, shape (joints,)."""
    values = [getattr(episode, kind) for episode in episodes]
    return (
        np.min([each.min(axis=0) for each in values], axis=0),
        np.max([each.max(axis=0) for each in values], axis=0),
    )


def offsets(episodes: Sequence[Survey], camera: str) -> NDArray[np.float64]:
    """Offsets of a camera's pictures over all episodes [s]."""
    known = [episode.offsets_s[camera] for episode in episodes if camera in episode.offsets_s]
    return np.concatenate(known) if known else np.zeros(0)
