"""Episodes as offline evaluation sees them, wherever they come from."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from typing_extensions import override

from trossen_pi0_core.contract import CAMERAS, NANOSECONDS, Observation
from trossen_pi0_core.errors import DatasetError
from trossen_pi0_core.joints import JointMap, select_joints
from trossen_pi0_data.bag_reader import EpisodeReader
from trossen_pi0_data.frames import EpisodeFrames, Frame, FrameSettings
from trossen_pi0_training import layout
from trossen_pi0_training.dataset import LeRobotFrames
from trossen_pi0_training.dataset_index import EpisodeSpan

JOINTS = JointMap()
"""The joints of everything that is evaluated, in order."""

NO_PROMPT = "it has no prompt; --default-prompt gives one to those without"
"""Why an episode without an instruction is left out."""


@dataclass(frozen=True)
class Row:
    """One frame of an episode.

    Attributes:
        index: on the episode's grid in time; an index that is left out has no frame.
        time_s: since the first time of the grid [s].
        state: measured positions, shape (joints,) [rad; m for carriages].
        action: commanded positions, likewise.
        observe: what the policy sees; pictures may be read only then. Valid until the next row.
        fresh: False where the observation is that of a frame before, held over a lost picture. The
            node does not ask twice with one observation.
    """

    index: int
    time_s: float
    state: NDArray[np.float64]
    action: NDArray[np.float64]
    observe: Callable[[], Observation]
    fresh: bool = True


class Source(Protocol):
    """One episode. Used by one thread.

    Attributes:
        name: of the episode.
        prompt: instruction.
        outcome: success, failure or unknown.
        expected: about how many frames there are.
        cameras: that its observations have.
    """

    name: str
    prompt: str
    outcome: str
    expected: int
    cameras: tuple[str, ...]

    def commands(self) -> NDArray[np.float64]:
        """What was commanded in it, shape (n, joints) [rad; m for carriages]."""
        ...

    def rows(self) -> Iterator[Row]:
        """The frames, in order.

        Raises:
            TrossenPi0Error: it cannot be read.
        """
        ...

    def missing(self) -> int:
        """Frames that could not be made, once ``rows`` has come to its end."""
        ...

    def notes(self) -> list[str]:
        """What is wrong with it, once ``rows`` has come to its end."""
        ...


class RecordedSource(Source):
    """A recorded episode."""

    def __init__(
        self, folder: Path, rate_hz: float, cameras: Sequence[str] = (), prompt: str = ""
    ) -> None:
        """Args:
        folder: of the episode.
        rate_hz: of the frames [Hz].
        cameras: which; empty: those that a policy can be sent.
        prompt: if the episode has none.

        Raises:
            TrossenPi0Error: it cannot be read, or lacks a joint, a camera or a prompt.
        """
        reader = EpisodeReader(folder)
        known = tuple(camera for camera in CAMERAS if camera in reader.info.cameras)
        self.name = folder.resolve().name
        self.outcome = reader.info.outcome
        self.cameras = tuple(cameras) or known
        if not self.cameras:
            raise DatasetError(
                f"it has none of the cameras {list(CAMERAS)}, only {sorted(reader.info.cameras)}"
            )
        self._frames = EpisodeFrames(reader, FrameSettings(fps=rate_hz), self.cameras)
        self.prompt = self._frames.prompt.strip() or prompt.strip()
        self.expected = self._frames.expected
        if not self.prompt:
            raise DatasetError(NO_PROMPT)
        self._commands = self._select(self._frames.commands.positions)

    @override
    def commands(self) -> NDArray[np.float64]:
        return self._commands

    @override
    def rows(self) -> Iterator[Row]:
        last_ns = -1
        for frame in self._frames:
            seen = self._observation(frame)
            fresh, last_ns = seen.stamp_ns != last_ns, seen.stamp_ns
            yield Row(
                frame.index,
                frame.index / self._frames.fps,
                seen.state,
                self._select(frame.action),
                lambda seen=seen: seen,
                fresh,
            )

    @override
    def missing(self) -> int:
        return len(self._frames.counts.lost)

    @override
    def notes(self) -> list[str]:
        found = [*self._frames.reader.problems, *self._frames.problems]
        return list(dict.fromkeys(found))

    def _observation(self, frame: Frame) -> Observation:
        return dataclasses.replace(
            frame.observation,
            joint_names=JOINTS.urdf_names,
            state=self._select(frame.observation.state),
            prompt=self.prompt,
        )

    def _select(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        return select_joints(self._frames.joint_names, values, JOINTS.urdf_names)


@dataclass(frozen=True)
class OpenDataset:
    """A LeRobot data set.

    Attributes:
        frames: reads it.
        states: of all frames, shape (frames, joints) [rad; m for carriages].
        actions: likewise.
    """

    frames: LeRobotFrames
    states: NDArray[np.float32]
    actions: NDArray[np.float32]


def open_dataset(root: Path, rate_hz: float, cameras: Sequence[str] = ()) -> OpenDataset:
    """Opens a data set for evaluation.

    Raises:
        DatasetError: it cannot be read, or its frames have another rate or no known camera.
    """
    data = LeRobotFrames(root, JOINTS.dataset_names, tuple(cameras) or None)
    if data.fps != rate_hz:
        raise DatasetError(
            f"it has {data.fps} frames a second, the rows of a chunk come at {rate_hz:g} Hz; "
            "--rate names the policy's"
        )
    known = tuple(camera for camera in CAMERAS if camera in data.cameras)
    if not known:
        raise DatasetError(f"it has none of the cameras {list(CAMERAS)}, only {list(data.cameras)}")
    if set(known) != set(data.cameras):
        data = LeRobotFrames(root, JOINTS.dataset_names, known)
    values = (data.select(data.joint_names, each) for each in (layout.STATE, layout.ACTION))
    return OpenDataset(data, *values)


class DatasetSource(Source):
    """An episode of a LeRobot data set. Pictures are read for the rows that are looked at."""

    def __init__(
        self, data: OpenDataset, span: EpisodeSpan, cameras: Sequence[str] = (), prompt: str = ""
    ) -> None:
        """Args:
        data: the data set.
        span: the episode.
        cameras: which; empty: all that were opened.
        prompt: of frames without a task.

        Raises:
            DatasetError: it has no frames, lacks a camera, or there is neither task nor prompt.
        """
        self._data, self._span, self._default = data, span, prompt.strip()
        self.name = f"{data.frames.root.resolve().name}/{span.index}"
        self.outcome = "unknown"
        self.expected = span.length
        self.cameras = tuple(cameras) or data.frames.cameras
        missing = [camera for camera in self.cameras if camera not in data.frames.cameras]
        if missing:
            raise DatasetError(
                f"it lacks the cameras {missing}, it has {list(data.frames.cameras)}"
            )
        self.prompt = ", ".join(t.strip() for t in span.tasks if t.strip()) or self._default
        if not span.length:
            raise DatasetError("it has no frames")
        if not self.prompt:
            raise DatasetError(NO_PROMPT)

    @override
    def commands(self) -> NDArray[np.float64]:
        return self._part(self._data.actions)

    @override
    def rows(self) -> Iterator[Row]:
        states, actions = self._part(self._data.states), self._part(self._data.actions)
        first = self._span.first
        numbers = self._data.frames.column("frame_index")[first : first + self._span.length]
        for i, index in enumerate(numbers.tolist()):
            yield Row(
                index,
                index / self._data.frames.fps,
                states[i],
                actions[i],
                lambda i=i: self._observation(first + i, states[i]),
            )

    @override
    def missing(self) -> int:
        return 0

    @override
    def notes(self) -> list[str]:
        return []

    def _part(self, values: NDArray[np.float32]) -> NDArray[np.float64]:
        return values[self._span.first : self._span.first + self._span.length].astype(np.float64)

    def _observation(self, index: int, state: NDArray[np.float64]) -> Observation:
        frame = self._data.frames.frame(index, self.cameras)
        stamp_ns = round(frame.time_s * NANOSECONDS)
        return Observation(
            stamp_ns=stamp_ns,
            joint_names=JOINTS.urdf_names,
            state=state,
            images=frame.images,
            image_stamps_ns=dict.fromkeys(frame.images, stamp_ns),
            prompt=frame.task.strip() or self._default,
        )
