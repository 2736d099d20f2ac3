"""What a run leaves behind: figures of each episode and a plot of its motion."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from trossen_pi0_bringup.episodes import EpisodeResult
from trossen_pi0_bringup.recording import EpisodeRecording
from trossen_pi0_core.joints import JOINTS_PER_ARM


def episode_summary(result: EpisodeResult) -> dict[str, Any]:
    """Figures of an episode, ready for JSON."""
    recording = result.recording
    summary: dict[str, Any] = {
        "seed": result.seed,
        "variant": result.variant,
        "success": result.success,
        "stage": result.stage,
        "reason": result.reason,
        "outcome": result.outcome,
        "message": result.message,
        "duration_s": round(result.duration_s, 3),
        "chunks": result.chunks,
    }
    factors = [f for f in recording.real_time_factors if f > 0]
    summary["real_time_factor"] = {
        "mean": _rounded(np.mean(factors) if factors else math.nan),
        "min": _rounded(min(factors, default=math.nan)),
    }
    summary["overhead_latency_ms"] = _quantiles(recording.overheads_s.values(), 1e3)
    summary["inference_latency_ms"] = _quantiles(recording.inferences_s.values(), 1e3)
    summary["tracking_error"] = _tracking(recording)
    controller = recording.controller
    if controller is not None:
        summary["controller"] = {
            "starvation_count": controller.starvation_count,
            "position_limit_events": controller.position_limit_events,
            "speed_limit_events": controller.speed_limit_events,
            "chunks_rejected": controller.chunks_rejected,
            "last_rejection": controller.last_rejection,
            "ticks": controller.ticks,
            "missed_deadlines": controller.missed_deadlines,
            "tick_lateness_p99_ms": _rounded(controller.tick_lateness_p99_s * 1e3),
            "driver_round_trip_p99_ms": _rounded(controller.driver_round_trip_p99_s * 1e3),
        }
    return summary


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Writes JSON in one step, so that a reader never sees half a file."""
    part = path.with_suffix(path.suffix + ".part")
    part.write_text(json.dumps(content, indent=2, allow_nan=False) + "\n")
    part.replace(path)


def plot_joints(recording: EpisodeRecording, path: Path, title: str) -> None:
    """Commanded against measured positions of every joint, with the chunks' first rows marked.

    One column an arm, one row a joint [rad; mm for carriages]; time in s from the first of them.
    """
    from matplotlib.figure import Figure  # here: the stack starts a second sooner without it

    command_ns, commands = recording.commands.arrays()
    measured_ns, measured = recording.measured.arrays()
    arms = max(1, len(recording.joint_names) // JOINTS_PER_ARM)
    figure = Figure(figsize=(7.5 * arms, 13))
    axes = figure.subplots(JOINTS_PER_ARM, arms, sharex=True, squeeze=False)
    origin = min((*command_ns[:1], *measured_ns[:1]), default=0)
    for j, name in enumerate(recording.joint_names):
        axis = axes[j % JOINTS_PER_ARM][j // JOINTS_PER_ARM]
        carriage = name.endswith("carriage_joint")
        scale = 1e3 if carriage else 1.0
        for published, _, _ in recording.chunks:
            axis.axvline((published - origin) / 1e9, color="0.85", linewidth=0.8, zorder=0)
        if len(command_ns):
            times = (command_ns - origin) / 1e9
            axis.plot(times, commands[:, j] * scale, label="commanded", lw=1.6)
        if len(measured_ns):
            times = (measured_ns - origin) / 1e9
            axis.plot(times, measured[:, j] * scale, "--", label="measured", lw=1.2)
        axis.set_ylabel("mm" if carriage else "rad")
        axis.set_title(name, fontsize=9, loc="left")
        axis.margins(x=0.01)
    for axis in axes[-1]:
        axis.set_xlabel("time [s]")
    if recording.joint_names:
        axes[0][0].plot([], [], color="0.85", label="chunk published")
        axes[0][0].legend(fontsize=8, loc="best")
    figure.suptitle(title)
    figure.tight_layout()
    figure.savefig(path, dpi=90)


def _tracking(recording: EpisodeRecording) -> dict[str, Any]:
    """Largest and RMS distance between measured and commanded, of joints and carriages."""
    error = recording.tracking_error()
    if not error.size:
        return {}
    carriage = np.array([n.endswith("carriage_joint") for n in recording.joint_names])
    return {
        "joints_max_rad": _rounded(np.abs(error[:, ~carriage]).max()),
        "joints_rms_rad": _rounded(np.sqrt((error[:, ~carriage] ** 2).mean())),
        "carriages_max_mm": _rounded(np.abs(error[:, carriage]).max() * 1e3),
    }


def _quantiles(values: Any, scale: float) -> dict[str, Any]:
    finite = [v * scale for v in values if math.isfinite(v)]
    if not finite:
        return {"count": 0}
    return {
        "count": len(finite),
        "p50": _rounded(np.quantile(finite, 0.5)),
        "p99": _rounded(np.quantile(finite, 0.99)),
    }


def _rounded(value: Any) -> float | None:
    """Four digits behind the point; None where there is no figure, since JSON has no NaN."""
    return round(float(value), 4) if math.isfinite(value) else None
