"""What the motion executor refuses: chunks out of time and poses out of reach."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from trossen_pi0_core.contract import NANOSECONDS, ActionChunk
from trossen_pi0_core.errors import ChunkRejectedError, JointError, MoveRejectedError
from trossen_pi0_core.execution import ExecutorConfig
from trossen_pi0_core.limits import JointLimits

SMALLEST_VELOCITY_SCALE = 1e-3
"""A slower MoveTo is a mistake: it would take hours."""


_FUTURE_NS = NANOSECONDS // 10
"""So far may the clocks of the machines differ [ns]; what is stamped later is from another time."""


def check_joints(chunk: ActionChunk, limits: JointLimits) -> None:
    """Refuses a chunk of other joints, or of another order.

    Raises:
        ChunkRejectedError: it is refused.
    """
    if chunk.joint_names != limits.names:
        raise ChunkRejectedError(
            f"it is for the joints {list(chunk.joint_names)}, "
            f"this controller has {list(limits.names)}"
        )


def timing_problem(chunk: ActionChunk, now_ns: int, max_age_ns: int) -> str:
    """Why the rows of a chunk cannot be executed at this time; empty when they can.

    Args:
        chunk: at least one row.
        now_ns: present time [ns].
        max_age_ns: largest age of the observation, and longest wait for the first row [ns].
    """
    age_ns = now_ns - chunk.observation_stamp_ns
    wait_ns = chunk.t_first_ns - now_ns
    allowed = f"allowed are {_seconds(max_age_ns, 2)}"
    if age_ns > max_age_ns:
        return too_old(age_ns, max_age_ns)
    if age_ns < -_FUTURE_NS:
        ahead = f"its observation is stamped {_seconds(-age_ns, 2)} in the future"
        return f"{ahead}, allowed are {_seconds(_FUTURE_NS, 2)}"
    if chunk.t_end_ns <= now_ns:
        return f"all its rows are past, by {_seconds(now_ns - chunk.t_end_ns, 3)}"
    if wait_ns > max_age_ns:
        return f"it begins {_seconds(wait_ns, 2)} in the future, {allowed}"
    return ""


def too_old(age_ns: int, max_age_ns: int) -> str:
    """What is wrong with a chunk of an observation of this age [ns]."""
    return f"its observation is {_seconds(age_ns, 2)} old, allowed are {_seconds(max_age_ns, 2)}"


def first_row(chunk: ActionChunk, now_ns: int, limits: JointLimits) -> NDArray[np.float64]:
    """The row of a chunk in force at ``now_ns``, moved inside the limits, shape (joints,)."""
    row = min(max(0, now_ns - chunk.t_first_ns) // chunk.period_ns, chunk.horizon - 1)
    return np.clip(chunk.positions[row], limits.lower, limits.upper)


def is_far(
    config: ExecutorConfig, command: NDArray[np.float64], first: NDArray[np.float64]
) -> bool:
    """Whether a run whose first row this is, shape (joints,), shall begin with a ramp to it."""
    distance_s = np.max(np.abs(first - command) / config.move_limits.velocity)
    return bool(distance_s > config.start_tolerance_s)


def check_goal(limits: JointLimits, goal: NDArray[np.float64], velocity_scale: float) -> None:
    """Raises MoveRejectedError unless a move to ``goal`` keeps the limits.

    Args:
        limits: limits of all joints.
        goal: shape (joints,) [rad; m for carriages].
        velocity_scale: fraction of the move speed.
    """
    if not SMALLEST_VELOCITY_SCALE <= velocity_scale <= 1.0:
        raise MoveRejectedError(
            f"velocity_scale must lie in [{SMALLEST_VELOCITY_SCALE}, 1], got {velocity_scale}"
        )
    if goal.shape != limits.lower.shape or not np.isfinite(goal).all():
        raise MoveRejectedError(f"need {limits.lower.size} finite positions, got {goal.tolist()}")
    outside = np.flatnonzero((goal < limits.lower) | (goal > limits.upper))
    if outside.size:
        raise MoveRejectedError(f"{_place(limits, goal, int(outside[0]))}")


def holdable(
    limits: JointLimits, measured: NDArray[np.float64], max_tick_ns: int
) -> NDArray[np.float64]:
    """The measured pose, moved inside the position limits by at most one tick's motion.

    Args:
        limits: limits of all joints.
        measured: shape (joints,) [rad; m for carriages].
        max_tick_ns: longest time that one tick accounts for [ns].

    Raises:
        JointError: values are missing or not finite, or a joint is so far outside its limits that
            holding it inside would be a jump.
    """
    if measured.shape != limits.lower.shape or not np.isfinite(measured).all():
        raise JointError(
            f"need {limits.lower.size} finite measured positions, got {measured.tolist()}"
        )
    inside = np.clip(measured, limits.lower, limits.upper)
    reach = limits.velocity * (max_tick_ns / NANOSECONDS)
    far = np.flatnonzero(np.abs(measured - inside) > reach)
    if far.size:
        raise JointError(f"measured {_place(limits, measured, int(far[0]))}; move it by hand")
    return inside


def _place(limits: JointLimits, positions: NDArray[np.float64], i: int) -> str:
    return (
        f"{limits.names[i]}: {positions[i]:.4f} lies outside "
        f"[{limits.lower[i]:.4f}, {limits.upper[i]:.4f}]"
    )


def _seconds(duration_ns: int, digits: int) -> str:
    return f"{duration_ns / NANOSECONDS:.{digits}f} s"
