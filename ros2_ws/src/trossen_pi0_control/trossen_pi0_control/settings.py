"""From the node's parameters and the arms' own limits to what the executor keeps."""

from __future__ import annotations

import dataclasses

import numpy as np
from numpy.typing import NDArray

from trossen_pi0_core.contract import NANOSECONDS
from trossen_pi0_core.errors import ParameterError
from trossen_pi0_core.execution import ExecutorConfig
from trossen_pi0_core.limits import JointLimits, per_joint
from trossen_pi0_core.parameters import ArmControllerParameters
from trossen_pi0_core.timeline import ChunkTimeline


def executor_config(params: ArmControllerParameters, limits: JointLimits) -> ExecutorConfig:
    """How motion is executed.

    Args:
        params: parameters of the node.
        limits: the tighter of the configured and the arms' own limits, at full speed.
    """
    # A move faster than commands may be would be cut short by the limits.
    move_fraction = min(params.move_velocity_fraction, params.velocity_fraction)
    config = ExecutorConfig(
        limits=limits.slowed(params.velocity_fraction),
        move_limits=limits.slowed(move_fraction),
        start_tolerance_s=0.0,
        max_chunk_age_ns=0,
        # A late tick asks for no more than two periods' way. The driver takes 1.5 periods for it,
        # so its speed stays below 4/3 of the part of the limits that is used.
        max_tick_ns=nanoseconds(2.0 / params.control_rate),
    )
    return with_live(config, params)


def with_live(config: ExecutorConfig, params: ArmControllerParameters) -> ExecutorConfig:
    """The same with those parameters that may change while the node runs."""
    return dataclasses.replace(
        config,
        start_tolerance_s=params.start_tolerance_s,
        max_chunk_age_ns=nanoseconds(params.max_chunk_age_s),
    )


def apply_live(timeline: ChunkTimeline, params: ArmControllerParameters) -> None:
    """Gives the timeline its part of them."""
    timeline.blend_ns = nanoseconds(params.blend_s)
    timeline.ensemble_coefficient = params.temporal_ensemble_coefficient


def named_poses(
    params: ArmControllerParameters, limits: JointLimits
) -> dict[str, NDArray[np.float64]]:
    """The poses that MoveTo knows by name, each of shape (joints,) [rad; m for carriages].

    Raises:
        ParameterError: one lies outside the limits.
    """
    size = limits.lower.size
    poses = {
        name: per_joint(getattr(params, f"{name}_pose"), size, f"{name}_pose")
        for name in ("staged", "home")
    }
    for name, pose in poses.items():
        outside = np.flatnonzero((pose < limits.lower) | (pose > limits.upper))
        if outside.size:
            i = int(outside[0])
            raise ParameterError(
                f"{name}_pose: {limits.names[i]} at {pose[i]:.4f} lies outside "
                f"[{limits.lower[i]:.4f}, {limits.upper[i]:.4f}], which the arm's controller allows"
            )
    return poses


def nanoseconds(seconds: float) -> int:
    """Seconds as whole nanoseconds."""
    return round(seconds * NANOSECONDS)
