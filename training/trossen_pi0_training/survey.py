"""Goes through an episode once and keeps what a report says of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from trossen_pi0_core.errors import EpisodeError
from trossen_pi0_data.page_parts import jpeg_uri
from trossen_pi0_training.episode_source import EpisodeSource, Motion, SourceFrame, TopicCount

_THUMBNAIL = (200, 150)
_SAMPLES = 60  # pixels of a picture's smaller side that are compared with the picture before
_LONGEST_LAG_S = 0.5
_LEAST_SPEED = 0.05  # joints that never move faster tell nothing of the lag [rad/s; a tenth, m/s]


@dataclass(frozen=True)
class Survey:
    """What is known of an episode, without its pictures.

    Attributes:
        name: of the episode.
        fps: frames a second [Hz].
        prompt: instruction.
        outcome: success, failure or unknown.
        duration_s: of the recording [s].
        joint_names: data-set names.
        cameras: names.
        topics: messages, rates and drops.
        missing: frames that could not be made.
        missing_reasons: why they could not, a text each.
        held: frames that show the observation of one before.
        problems: what is wrong, a text each.
        times_s: of the frames, shape (n,) [s].
        state: measured, shape (n, joints) [rad; m for carriages].
        action: commanded, shape (n, joints) [rad; m for carriages].
        changes: camera -> mean change of a pixel since the frame before, shape (n,) [0..255].
        offsets_s: camera -> picture's stamp less the joint state's, shape (n,) [s]; may be empty.
        lags_s: by how much each joint follows its command, shape (joints,) [s]; NaN: it rests.
        thumbnails: camera -> first, middle and last picture as data URIs.
    """

    name: str
    fps: float
    prompt: str
    outcome: str
    duration_s: float
    joint_names: tuple[str, ...]
    cameras: tuple[str, ...]
    topics: Mapping[str, TopicCount]
    missing: int
    missing_reasons: tuple[str, ...]
    held: int
    problems: tuple[str, ...]
    times_s: NDArray[np.float64]
    state: NDArray[np.float64]
    action: NDArray[np.float64]
    changes: Mapping[str, NDArray[np.float64]]
    offsets_s: Mapping[str, NDArray[np.float64]]
    lags_s: NDArray[np.float64]
    thumbnails: Mapping[str, Sequence[str]]

    @property
    def frames(self) -> int:
        """How many there are."""
        return len(self.times_s)

    @property
    def dropped(self) -> int:
        """Messages that were lost in recording, over all topics."""
        return sum(topic.dropped for topic in self.topics.values())

    def arms(self) -> dict[str, list[int]]:
        """Columns of each arm's joints, by the first word of their names."""
        found: dict[str, list[int]] = {}
        for column, name in enumerate(self.joint_names):
            found.setdefault(name.partition("_")[0], []).append(column)
        return found

    def grippers(self) -> list[int]:
        """Columns of the gripper carriages."""
        return [i for i, name in enumerate(self.joint_names) if is_gripper(name)]

    def speeds(self) -> NDArray[np.float64]:
        """Speed of each joint, shape (n, joints) [rad/s; m/s for carriages]; 0 in the first row."""
        steps_s = np.maximum(np.diff(self.times_s), 1e-9)[:, None]
        speeds = np.abs(np.diff(self.state, axis=0)) / steps_s
        return np.concatenate([np.zeros((1, self.state.shape[1])), speeds])[: self.frames]


def is_gripper(name: str) -> bool:
    """Whether a joint is a gripper's carriage, in metres."""
    return "carriage" in name or "gripper" in name


def survey(source: EpisodeSource) -> Survey:
    """Reads an episode.

    Raises:
        TrossenPi0Error: it has no frames.
    """
    frames = _Frames(source)
    for frame in source.frames():
        frames.add(frame)
    if not frames.times_s:
        why = "; ".join([*source.problems(), *source.missing_reasons()]) or "no reason is known"
        raise EpisodeError(f"{source.name} has no frames: {why}")
    state, action = np.array(frames.states), np.array(frames.actions)
    motion = source.motion() or Motion(source.fps, action, state)
    return Survey(
        name=source.name,
        fps=source.fps,
        prompt=source.prompt,
        outcome=source.outcome,
        duration_s=source.duration_s,
        joint_names=tuple(source.joint_names),
        cameras=tuple(source.cameras),
        topics=dict(source.topics),
        missing=source.missing(),
        missing_reasons=tuple(source.missing_reasons()),
        held=source.held(),
        problems=tuple(source.problems()),
        times_s=np.array(frames.times_s),
        state=state,
        action=action,
        changes={camera: np.array(values) for camera, values in frames.changes.items()},
        offsets_s={camera: np.array(values) for camera, values in frames.offsets_s.items()},
        lags_s=lags(motion, [is_gripper(name) for name in source.joint_names]),
        thumbnails=frames.thumbnails(),
    )


def lags(motion: Motion, grippers: Sequence[bool]) -> NDArray[np.float64]:
    """By how much each joint follows its command: where their speeds agree best.

    Args:
        motion: commanded and measured positions.
        grippers: whether each joint is a carriage [m].

    Returns:
        Shape (joints,) [s], 0 to 0.5; NaN for joints that hardly move.
    """
    wanted = np.diff(motion.commanded, axis=0) * motion.rate_hz
    real = np.diff(motion.measured, axis=0) * motion.rate_hz
    most = min(round(_LONGEST_LAG_S * motion.rate_hz), len(wanted) // 2)
    result = np.full(wanted.shape[1], np.nan)
    for joint, gripper in enumerate(grippers):
        least = _LEAST_SPEED / 10 if gripper else _LEAST_SPEED
        if most < 1 or min(np.ptp(wanted[:, joint]), np.ptp(real[:, joint])) < least:
            continue
        a = wanted[: len(wanted) - most, joint]
        errors = [
            float(np.mean((real[lag : lag + len(a), joint] - a) ** 2)) for lag in range(most + 1)
        ]
        result[joint] = _lowest(errors) / motion.rate_hz
    return result


def _lowest(values: Sequence[float]) -> float:
    """Where values are lowest, between the samples by a parabola."""
    at = int(np.argmin(values))
    if not 0 < at < len(values) - 1:
        return float(at)
    left, here, right = values[at - 1 : at + 2]
    bend = left - 2 * here + right
    return at + (0.5 * (left - right) / bend if bend > 0 else 0.0)


class _Frames:
    """Collects frames without keeping their pictures."""

    def __init__(self, source: EpisodeSource) -> None:
        self.times_s: list[float] = []
        self.states: list[NDArray[np.float64]] = []
        self.actions: list[NDArray[np.float64]] = []
        self.changes: dict[str, list[float]] = {camera: [] for camera in source.cameras}
        self.offsets_s: dict[str, list[float]] = {camera: [] for camera in source.cameras}
        self._middle_s = source.duration_s / 2
        self._before: dict[str, NDArray[np.int16]] = {}
        self._shown: list[SourceFrame] = []

    def add(self, frame: SourceFrame) -> None:
        self.times_s.append(frame.time_s)
        self.states.append(frame.state)
        self.actions.append(frame.action)
        for camera, image in frame.images.items():
            step = max(1, min(image.shape[:2]) // _SAMPLES)
            small = image[::step, ::step].astype(np.int16)
            before = self._before.get(camera, small)
            same_size = before.shape == small.shape
            change = float(np.abs(small - before).mean()) if same_size else 255.0
            self.changes[camera].append(change)
            self._before[camera] = small
        for camera, offset_s in frame.offsets_s.items():
            self.offsets_s[camera].append(offset_s)
        self._show(frame)

    def _show(self, frame: SourceFrame) -> None:
        """Keeps the first frame, the first of the second half, and the newest."""
        if len(self._shown) < 2 or (len(self._shown) == 2 and frame.time_s < self._middle_s):
            self._shown = [*self._shown[:1], frame]
        elif len(self._shown) == 2:
            self._shown = [self._shown[0], frame, frame]
        else:
            self._shown[2] = frame

    def thumbnails(self) -> dict[str, list[str]]:
        return {
            camera: [jpeg_uri(frame.images[camera], _THUMBNAIL) for frame in self._shown]
            for camera in self.changes
        }
