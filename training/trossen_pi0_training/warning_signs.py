"""What in episodes ruins training: pure functions of what was surveyed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from trossen_pi0_core.limits import WXAI_LOWER, WXAI_UPPER
from trossen_pi0_training.survey import Survey, is_gripper

_MOVES = 0.02  # a joint is at rest below this speed [rad/s]
_CARRIAGE_MOVES = 0.002  # likewise a carriage [m/s]
_FROZEN_S = 0.5  # a picture stands still for so long although the arms move
_FROZEN_PATH = 0.1  # by at least so much, over all joints [rad]
_IDLE_S = 1.0
_CLOSES = 0.005  # a gripper closes when it moves together by this [m]
_AT_LIMIT = 0.01  # of the range of a joint
_CLIPPED_S = 1.0
_ALIKE = 1e-3  # largest difference between the commands of two episodes [rad; m]
_SWAPPED = 0.3  # least correlation of a wrist picture with the other arm
_SWAPPED_BY = 0.2  # and by how much it exceeds that with its own
_LATE_S = 0.05
_HELD = 0.05  # share of frames that show the observation of one before
_REASONS = 3
_POINTS = 20


@dataclass(frozen=True)
class Sign:
    """Something to look at.

    Attributes:
        kind: one word or two, the same for all episodes.
        text: what, where and how much.
        severe: whether training on it does harm; else it is only remarkable.
        camera: that it is about; empty when it is about none.
    """

    kind: str
    text: str
    severe: bool = True
    camera: str = ""


def joint_limits(names: Sequence[str]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Lower and upper limit of each joint of WidowX arms; NaN for joints that are not theirs."""
    lower, upper = np.full(len(names), np.nan), np.full(len(names), np.nan)
    for i, name in enumerate(names):
        place = 6 if is_gripper(name) else _number(name)
        if place is not None:
            lower[i], upper[i] = WXAI_LOWER[place], WXAI_UPPER[place]
    return lower, upper


def signs_of(episode: Survey) -> list[Sign]:
    """All that is remarkable in an episode, the harmful first."""
    finders = (_about_text, _about_losses, _motion, _grippers, _limits, _cameras, _wrists)
    found = [sign for finder in finders for sign in finder(episode)]
    return sorted(found, key=lambda sign: not sign.severe)


def alike(episodes: Sequence[Survey]) -> list[tuple[str, str]]:
    """Pairs of episodes whose commands are the same, as when one was recorded or copied twice."""
    pairs: list[tuple[str, str]] = []
    shapes = [_shape(episode) for episode in episodes]
    for i, one in enumerate(episodes):
        for j in range(i):
            same_joints = shapes[i].shape == shapes[j].shape
            near = abs(one.frames - episodes[j].frames) <= 2
            if near and same_joints and np.abs(shapes[i] - shapes[j]).max() < _ALIKE:
                pairs.append((episodes[j].name, one.name))
    return pairs


def _about_text(episode: Survey) -> Iterator[Sign]:
    if not episode.prompt.strip():
        yield Sign("no prompt", "it has no prompt")
    if episode.outcome == "failure":
        yield Sign("failure", "its outcome is failure", severe=False)


def _about_losses(episode: Survey) -> Iterator[Sign]:
    for problem in episode.problems:
        yield Sign("recording", problem)
    if episode.missing:
        total, reasons = episode.missing + episode.frames, episode.missing_reasons
        more = len(reasons) - _REASONS
        why = "; ".join([*reasons[:_REASONS], *([f"{more} other reasons"] if more > 0 else [])])
        text = f"{episode.missing} of {total} frames could not be made: {why}"
        yield Sign("missing frames", text)
    if episode.held:
        share = episode.held / episode.frames
        text = (
            f"{episode.held} frames ({share:.1%}) show the observation of one before: pictures lack"
        )
        yield Sign("held frames", text, severe=share > _HELD)
    worst = {c: float(np.abs(o).max(initial=0.0)) for c, o in episode.offsets_s.items()}
    late = [f"{c} {o * 1e3:.0f} ms" for c, o in worst.items() if o > _LATE_S / 2]
    if late:
        text = f"pictures lie up to so far from their joint states: {', '.join(late)}"
        yield Sign("camera sync", text, severe=False)


def _motion(episode: Survey) -> Iterator[Sign]:
    moving: NDArray[np.bool_] = _moving(episode).max(axis=1)
    if not moving.any():
        yield Sign("static", "no joint moves in the whole episode")
        return
    first, last = int(np.argmax(moving)), len(moving) - 1 - int(np.argmax(moving[::-1]))
    begin_s = episode.times_s[first] - episode.times_s[0]
    end_s = episode.times_s[-1] - episode.times_s[last]
    if begin_s > _IDLE_S:
        yield Sign("idle start", f"nothing moves in the first {begin_s:.1f} s", severe=False)
    if end_s > _IDLE_S:
        yield Sign("idle end", f"nothing moves in the last {end_s:.1f} s", severe=False)


def _grippers(episode: Survey) -> Iterator[Sign]:
    never = []
    for column in episode.grippers():
        values = episode.state[:, column]
        closed_by = float((np.maximum.accumulate(values) - values).max())
        if closed_by < _CLOSES:
            low, high = values.min() * 1e3, values.max() * 1e3
            never.append(f"{episode.joint_names[column]} stays in {low:.1f} to {high:.1f} mm")
    severe = bool(never) and len(never) == len(episode.grippers())
    for text in never:
        yield Sign("gripper never closes", f"{text} and never closes", severe=severe)


def _limits(episode: Survey) -> Iterator[Sign]:
    lower, upper = joint_limits(episode.joint_names)
    margin = _AT_LIMIT * (upper - lower)
    at = (episode.action <= lower + margin) | (episode.action >= upper - margin)
    for column in np.flatnonzero(at.any(axis=0)):
        share = float(at[:, column].mean())
        name = episode.joint_names[column]
        if share * episode.frames / episode.fps > _CLIPPED_S and not is_gripper(name):
            yield Sign(
                "clipped joint",
                f"{name} is commanded to its limit in {share:.0%} of the frames "
                f"({lower[column]:.2f} to {upper[column]:.2f} rad)",
            )


def _cameras(episode: Survey) -> Iterator[Sign]:
    """A wrist camera's picture changes when its own arm moves, another's when any does."""
    speeds = _arm_speeds(episode)
    swapped = {sign.camera for sign in _wrists(episode)}
    for camera, changes in episode.changes.items():
        if camera in swapped:
            continue
        own = _own_arm(camera, episode)
        seen = speeds if own is None else speeds[:, episode.arms()[own]]
        path = np.cumsum(seen.sum(axis=1)) / episode.fps
        begin = 0  # of the stretch without a change
        worst = (0.0, 0)
        for i in range(1, len(changes) + 1):
            if i < len(changes) and changes[i] == 0.0:
                continue
            still_s = float(episode.times_s[i - 1] - episode.times_s[begin])
            if path[i - 1] - path[begin] > _FROZEN_PATH:
                worst = max(worst, (still_s, begin))
            begin = i
        if worst[0] > _FROZEN_S:
            at_s = episode.times_s[worst[1]]
            yield Sign(
                "frozen camera",
                f"{camera} shows the same picture for {worst[0]:.1f} s from {at_s:.1f} s on, "
                f"although {'the arms move' if own is None else f'the {own} arm moves'}",
            )


def _wrists(episode: Survey) -> Iterator[Sign]:
    """A wrist camera's picture changes when its own arm moves, more than with the other arm."""
    speeds = _arm_speeds(episode)
    arms = {arm: speeds[:, columns].sum(axis=1) for arm, columns in episode.arms().items()}
    for camera, changes in episode.changes.items():
        own = _own_arm(camera, episode)
        if own is None:
            continue
        mine = _correlation(changes, arms[own])
        for other, speed in arms.items():
            theirs = _correlation(changes, speed)
            if other != own and theirs > max(_SWAPPED, mine + _SWAPPED_BY):
                yield Sign(
                    "swapped wrists",
                    f"{camera} moves with the {other} arm (correlation {theirs:.2f}) rather than "
                    f"with the {own} arm ({mine:.2f}): are the wrist cameras swapped?",
                    camera=camera,
                )


def _own_arm(camera: str, episode: Survey) -> str | None:
    """The arm that carries a camera; None for one that stands in the room."""
    return next((a for a in episode.arms() if f"{a}_wrist" in camera or camera == a), None)


def _moving(episode: Survey) -> NDArray[np.bool_]:
    """Whether each joint moves in each frame, shape (n, joints)."""
    carriage = np.array([is_gripper(name) for name in episode.joint_names])
    return episode.speeds() > np.where(carriage, _CARRIAGE_MOVES, _MOVES)


def _arm_speeds(episode: Survey) -> NDArray[np.float64]:
    """Speeds without those of the carriages, which move no camera."""
    speeds = episode.speeds()
    speeds[:, episode.grippers()] = 0.0
    return speeds


def _correlation(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
    """Of two series, without their first value; 0 when one of them is constant."""
    a, b = a[1:], b[1:]
    if len(a) < 2 or not a.std() or not b.std():
        return 0.0
    return float(np.corrcoef(a, b)[0, 1])


def _shape(episode: Survey) -> NDArray[np.float64]:
    """The commands at evenly spaced points, shape (points, joints)."""
    at = np.linspace(0, episode.frames - 1, _POINTS).round().astype(int)
    return episode.action[at]


def _number(name: str) -> int | None:
    """The number in a joint's name, such as 3 of ``left_joint_3.pos``."""
    text = name.partition("joint_")[2].partition(".")[0]
    return int(text) if text.isdecimal() and int(text) < 6 else None
