"""Proof from recordings that no limit was exceeded and nothing jumped. Knows neither ROS nor nodes.

Set-points are judged as they arrived, which is early or late by some milliseconds; speeds and
accelerations by the controller's own stamps.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trossen_pi0_core.limits import JointLimits

COMMAND = np.dtype(
    [
        ("time_s", "f8"),
        ("stamp_ns", "i8"),
        ("positions", "f8", (14,)),
        ("velocities", "f8", (14,)),
    ]
)
"""One message of /arm_controller/command: when it came [s, monotonic], its stamp [ns], positions
[rad; m for carriages], speeds [rad/s; m/s]."""

_ROUNDING = 1e-6
# Between its arrival and the one before, a set-point may have been early or late by this [s].
_JITTER_S = 0.02
_LAGS = (1, 2, 4, 8, 16, 32, 64, 128)
# The driver goes from goal to goal in 1.5 control periods, and a goal is at most two periods' way.
_DRIVER_SHARE = 4.0 / 3.0
_ACCELERATION_TOLERANCE = 0.02
# What a measured pose and the set-point that holds it may differ by [rad; m for the carriage].
_HELD_WITHIN = np.array([*(0.02,) * 6, 0.002])
_GAP_S = 1.0  # without commands: a fault was cleared, the arms begin anew where they are
_PAUSE = 0.75  # of the longest tick: one and a half control periods


@dataclass(frozen=True)
class Evidence:
    """What was recorded in a span of time.

    Attributes:
        set_points: records of ``recording.SET_POINT``: what arrived at the arms.
        motion: records of ``recording.MOTION``: what the arms did.
        commands: records of ``COMMAND``: what the controller says that it has sent.
    """

    set_points: NDArray[Any]
    motion: NDArray[Any]
    commands: NDArray[Any]


@dataclass(frozen=True)
class Rules:
    """What is allowed.

    Attributes:
        limits: positions, speeds and accelerations that commands keep.
        full_velocity: speeds that the arms themselves may have, shape (14,) [rad/s; m/s].
        max_tick_s: longest time that one control tick accounts for [s].
    """

    limits: JointLimits
    full_velocity: NDArray[np.float64]
    max_tick_s: float


@dataclass(frozen=True)
class Use:
    """How much of each limit was used, 0..1, and how near the commands came to a position limit.

    Attributes:
        position: smallest distance of a set-point from a position limit, as a part of the range.
        speed: largest commanded speed over its limit.
        acceleration: largest commanded acceleration over its limit.
        step: largest step of the set-points over what their speed limit allows.
    """

    position: float
    speed: float
    acceleration: float
    step: float


class UnsafeMotionError(AssertionError):
    """A limit was exceeded, or something jumped."""


def assert_motion_is_safe(evidence: Evidence, rules: Rules) -> Use:
    """Returns how much of the limits was used.

    Raises:
        UnsafeMotionError: which limit was exceeded, when, by which joint and how far.
    """
    position, step = 1.0, 0.0
    for arm in (0, 1):
        points = evidence.set_points[evidence.set_points["arm"] == arm]
        driven = points[points["driven"] == 1]
        part = slice(7 * arm, 7 * arm + 7)
        if len(driven):
            position = min(position, _check_positions(driven, rules, part))
            _check_beginnings(points, rules, part)
            for stretch in _stretches(points):
                step = max(step, _check_steps(stretch, rules, part))
    _check_arms(evidence.motion, rules)
    speed, acceleration = _check_commands(evidence.commands, rules)
    return Use(position, speed, acceleration, step)


def held_from(set_points: NDArray[Any], since_s: float) -> float:
    """When the set-points of both arms came to rest, as they are now [s, monotonic].

    An arm on its brakes is at rest.

    Args:
        set_points: records of ``recording.SET_POINT``.
        since_s: what was before does not count [s].
    """
    held_s = since_s
    for arm in (0, 1):
        points = set_points[(set_points["arm"] == arm) & (set_points["time_s"] >= since_s)]
        points = points[points["driven"] == 1]
        if not len(points):
            continue
        moving = np.abs(points["target"] - points["target"][-1]).max(axis=1) > _ROUNDING
        if moving.any():
            last = int(np.flatnonzero(moving)[-1])
            held_s = max(held_s, float(points["time_s"][min(last + 1, len(points) - 1)]))
    return held_s


def _check_positions(driven: NDArray[Any], rules: Rules, part: slice) -> float:
    targets = driven["target"]
    lower, upper = rules.limits.lower[part], rules.limits.upper[part]
    bad = ~np.isfinite(targets)
    _refuse(bad, targets, driven["time_s"], "set-point is not finite", rules, part)
    outside = (targets < lower - _ROUNDING) | (targets > upper + _ROUNDING)
    _refuse(outside, targets, driven["time_s"], "set-point is outside its limits", rules, part)
    return float((np.minimum(targets - lower, upper - targets) / (upper - lower)).min())


def _check_beginnings(points: NDArray[Any], rules: Rules, part: slice) -> None:
    """An arm that goes into position mode is first told to stay where it is."""
    begins = np.flatnonzero((points["driven"][1:] == 1) & (points["driven"][:-1] == 0)) + 1
    first = points[begins]
    far = np.abs(first["target"] - first["measured"])
    what = "first set-point is away from where the arm is, by"
    _refuse(far > _HELD_WITHIN, far, first["time_s"], what, rules, part)


def _stretches(points: NDArray[Any]) -> list[NDArray[Any]]:
    """The spans in which the arm was driven."""
    edges = np.flatnonzero(np.diff(points["driven"])) + 1
    return [part for part in np.split(points, edges) if len(part) > 1 and part["driven"][0] == 1]


def _check_steps(points: NDArray[Any], rules: Rules, part: slice) -> float:
    """No set-point lies further from those before it than the speed limit allows."""
    speed = _DRIVER_SHARE * rules.limits.velocity[part]
    used = 0.0
    for lag in _LAGS:
        if len(points) <= lag:
            break
        passed_s = points["time_s"][lag:] - points["time_s"][:-lag]
        way = np.abs(points["target"][lag:] - points["target"][:-lag])
        share = way / (speed * (passed_s[:, None] + _JITTER_S))
        what = f"set-points jumped within {lag} steps, to a part of what is allowed of"
        _refuse(share > 1.0, share, points["time_s"][lag:], what, rules, part)
        used = max(used, float(share.max()))
    return used


def _check_arms(motion: NDArray[Any], rules: Rules) -> None:
    """The arms themselves keep the speeds and never jump."""
    everything = slice(0, 14)
    speeds = np.abs(motion["velocities"])
    fast = speeds > rules.full_velocity
    _refuse(fast, speeds, motion["time_s"], "arm moves too fast, at", rules, everything)
    if len(motion) > 1:
        passed_s = np.diff(motion["time_s"])[:, None] + _JITTER_S
        way = np.abs(np.diff(motion["positions"], axis=0))
        jumped = way > rules.full_velocity * passed_s
        _refuse(jumped, way, motion["time_s"][1:], "arm jumped by", rules, everything)


def _check_commands(commands: NDArray[Any], rules: Rules) -> tuple[float, float]:
    """Speed and acceleration of the commands as published, with the controller's own stamps."""
    if len(commands) < 2:
        return 0.0, 0.0
    everything = slice(0, 14)
    limits = rules.limits
    stamps_s = commands["stamp_ns"] / 1e9
    passed_s = np.diff(commands["stamp_ns"]) / 1e9
    begins = np.diff(commands["time_s"]) > _GAP_S
    # The clock was set, or nothing was commanded: no more than one tick may have passed.
    passed_s = np.where((passed_s <= 0) | (passed_s > _GAP_S), rules.max_tick_s, passed_s)
    speeds = np.abs(commands["velocities"])
    too_fast = speeds > limits.velocity + _ROUNDING
    _refuse(too_fast, speeds, stamps_s, "command is too fast, at", rules, everything)
    # Where motion begins is judged by the set-points that arrive.
    way = np.where(begins[:, None], 0.0, np.abs(np.diff(commands["positions"], axis=0)))
    far = way > limits.velocity * passed_s[:, None] + _ROUNDING
    _refuse(far, way, stamps_s[1:], "commands are too far apart, by", rules, everything)
    # A command's speed is that of the middle of its step. After a pause a message may be missing,
    # or, where the step before was longer still, it is further from middle to middle.
    step_s = np.minimum(passed_s, rules.max_tick_s)
    between_s = (step_s + np.concatenate([step_s[:1], step_s[:-1]])) / 2.0
    pause = passed_s > _PAUSE * rules.max_tick_s
    between_s = np.where(pause, np.maximum(passed_s, between_s), between_s)
    before = np.where(begins[:, None], 0.0, commands["velocities"][:-1])
    change = np.abs(commands["velocities"][1:] - before) / between_s[:, None]
    hard = change > limits.acceleration * (1.0 + _ACCELERATION_TOLERANCE)
    what = "commands accelerate too hard, with"
    if hard.any():
        row = int(np.argwhere(hard)[0][0])
        steps_ms = np.round(1e3 * passed_s[max(0, row - 3) : row + 2], 2).tolist()
        what = f"commands {steps_ms} ms apart accelerate too hard, with"
    _refuse(hard, change, stamps_s[1:], what, rules, everything)
    return float((speeds / limits.velocity).max()), float((change / limits.acceleration).max())


def _refuse(
    bad: NDArray[np.bool_],
    values: NDArray[np.float64],
    times_s: NDArray[np.float64],
    what: str,
    rules: Rules,
    part: slice,
) -> None:
    if bad.any():
        row, column = np.argwhere(bad)[0]
        joint = rules.limits.names[part][column]
        raise UnsafeMotionError(
            f"{joint}: {what} {values[row, column]:.6g}, at {times_s[row]:.4f} s; "
            f"{int(bad.any(axis=1).sum())} of {len(bad)} records are bad"
        )
