"""Observations from streams: a joint state, and for each camera the picture nearest to it."""

from __future__ import annotations

from bisect import bisect_left
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from trossen_pi0_core.contract import NANOSECONDS, Observation, check_image
from trossen_pi0_core.errors import ObservationError
from trossen_pi0_core.joints import select_joints

_JOINT_STATES = 512
"""Joint states kept: a second at 500 Hz, longer than a picture may lag behind them."""


@dataclass(frozen=True)
class SyncTolerances:
    """How far apart the parts of an observation may lie.

    Attributes:
        sync_ns: largest distance between a picture's stamp and the joint state's [ns].
        max_age_ns: largest age of the joint state and of each camera's newest picture [ns]; nothing
            may be stamped further in the future either.
    """

    sync_ns: int
    max_age_ns: int


@dataclass
class _Stream:
    stamps: deque[int] = field(default_factory=lambda: deque(maxlen=8))
    images: deque[NDArray[np.uint8]] = field(default_factory=lambda: deque(maxlen=8))


class ObservationAssembler:
    """Keeps the last pictures and joint states and makes observations of them.

    Not thread-safe. Stamps and times are ROS time [ns].
    """

    def __init__(
        self, joint_names: Sequence[str], cameras: Sequence[str], tolerances: SyncTolerances
    ) -> None:
        self.joint_names = tuple(joint_names)
        self.cameras = tuple(cameras)
        self.tolerances = tolerances
        self._streams = {camera: _Stream() for camera in self.cameras}
        self._joint_stamps: deque[int] = deque(maxlen=_JOINT_STATES)
        self._joints: deque[NDArray[np.float64]] = deque(maxlen=_JOINT_STATES)

    def add_image(
        self, camera: str, stamp_ns: int, image: NDArray[np.uint8], now_ns: int | None = None
    ) -> None:
        """Takes a picture.

        Args:
            camera: its name.
            stamp_ns: its stamp.
            image: uint8 RGB of shape (height, width, 3).
            now_ns: present time; a stamp further from it than the largest age is refused, so that
                one bad stamp does not drive out the good ones. None: any stamp is taken.

        Raises:
            ObservationError: unknown camera, or a bad stamp.
            ImageError: not such a picture.
        """
        self._check_stamp(stamp_ns, now_ns)
        if camera not in self._streams:
            raise ObservationError(f"unknown camera {camera!r}, expected one of {self.cameras}")
        check_image(image, camera)
        stream = self._streams[camera]
        if stream.stamps and stamp_ns <= stream.stamps[-1]:
            if stream.stamps[-1] - stamp_ns < NANOSECONDS:
                return  # a repeat or a late picture adds nothing
            stream.stamps.clear()  # the clock was set back
            stream.images.clear()
        stream.stamps.append(stamp_ns)
        stream.images.append(image)

    def add_joints(
        self,
        stamp_ns: int,
        names: Sequence[str],
        positions: Sequence[float],
        now_ns: int | None = None,
    ) -> None:
        """Takes a joint state.

        Args:
            stamp_ns: its stamp.
            names: joints, in any order.
            positions: one for each name [rad; m for carriages].
            now_ns: present time, as in ``add_image``.

        Raises:
            JointError: a joint is missing.
            ObservationError: a position is not finite, or a bad stamp.
        """
        self._check_stamp(stamp_ns, now_ns)
        values = select_joints(names, positions, self.joint_names)
        if not np.isfinite(values).all():
            bad = [n for n, v in zip(self.joint_names, values, strict=True) if not np.isfinite(v)]
            raise ObservationError(f"joint positions are not finite: {bad}")
        if self._joint_stamps and stamp_ns <= self._joint_stamps[-1]:
            if self._joint_stamps[-1] - stamp_ns < NANOSECONDS:
                return
            self._joint_stamps.clear()
            self._joints.clear()
        self._joint_stamps.append(stamp_ns)
        self._joints.append(values)

    def newest_joints(self) -> tuple[int, NDArray[np.float64]] | None:
        """Stamp [ns] and positions of the newest joint state, shape (joints,), if there is one."""
        return (self._joint_stamps[-1], self._joints[-1]) if self._joint_stamps else None

    def missing(self, now_ns: int) -> list[str]:
        """What stands in the way of an observation, one sentence part each; empty when nothing."""
        problems: list[str] = []
        if not self._joint_stamps:
            problems.append("joint states: none received")
        elif (age := now_ns - self._joint_stamps[-1]) > self.tolerances.max_age_ns:
            problems.append(f"joint states: {age / NANOSECONDS:.2f} s old")
        elif age < -self.tolerances.max_age_ns:
            problems.append(f"joint states: stamped {-age / NANOSECONDS:.2f} s in the future")
        for camera in self.cameras:
            problem = self._camera_problem(camera, now_ns)
            if problem:
                problems.append(f"{camera}: {problem}")
        return problems

    def _camera_problem(self, camera: str, now_ns: int) -> str:
        stamps = self._streams[camera].stamps
        if not stamps:
            return "no picture received"
        limit = self.tolerances.max_age_ns
        age = now_ns - stamps[-1]
        if age > limit:
            return f"newest picture is {age / NANOSECONDS:.2f} s old"
        if age < -limit:
            return f"newest picture is stamped {-age / NANOSECONDS:.2f} s in the future"
        return ""

    def assemble(self, now_ns: int, prompt: str) -> Observation:
        """Makes the newest observation in which all parts lie together.

        The joint state is the one nearest to the newest instant that every camera has reached;
        for each camera the picture nearest to that joint state is taken.

        Raises:
            ObservationError: something is missing, too old, or out of tolerance; names all of it.
        """
        problems = self.missing(now_ns)
        if problems:
            raise ObservationError("; ".join(problems))
        reached = min((s.stamps[-1] for s in self._streams.values()), default=now_ns)
        at = _nearest(self._joint_stamps, reached)
        stamp = self._joint_stamps[at]
        if self._streams and reached - stamp > self.tolerances.sync_ns:
            raise ObservationError(
                f"joint states: the newest lies {(reached - stamp) / NANOSECONDS:.3f} s behind the "
                f"pictures, allowed are {self.tolerances.sync_ns / NANOSECONDS:.3f} s"
            )
        images: dict[str, NDArray[np.uint8]] = {}
        image_stamps: dict[str, int] = {}
        for camera, stream in self._streams.items():
            i = _nearest(stream.stamps, stamp)
            distance = abs(stream.stamps[i] - stamp)
            if distance > self.tolerances.sync_ns:
                if stream.stamps[0] > stamp and abs(reached - stamp) <= self.tolerances.sync_ns:
                    raise ObservationError(self._lagging(reached))
                problems.append(
                    f"{camera}: nearest picture lies {distance / NANOSECONDS:.3f} s from the joint "
                    f"state, allowed are {self.tolerances.sync_ns / NANOSECONDS:.3f} s"
                )
            images[camera], image_stamps[camera] = stream.images[i], stream.stamps[i]
        if problems:
            raise ObservationError("; ".join(problems))
        return Observation(stamp, self.joint_names, self._joints[at], images, image_stamps, prompt)

    def _check_stamp(self, stamp_ns: int, now_ns: int | None) -> None:
        off_ns = 0 if now_ns is None else stamp_ns - now_ns
        if abs(off_ns) > self.tolerances.max_age_ns:
            when = "future" if off_ns > 0 else "past"
            raise ObservationError(f"stamped {abs(off_ns) / NANOSECONDS:.2f} s in the {when}")

    def _lagging(self, reached_ns: int) -> str:
        """The cameras that are behind, when the pictures of the others no longer reach back."""
        newest = max(stream.stamps[-1] for stream in self._streams.values())
        lag = f"newest picture lies {(newest - reached_ns) / NANOSECONDS:.3f} s behind the others'"
        behind = [c for c, stream in self._streams.items() if stream.stamps[-1] == reached_ns]
        return "; ".join(f"{camera}: {lag}" for camera in behind)


def _nearest(stamps: deque[int], wanted: int) -> int:
    """Index of the stamp nearest to ``wanted``; stamps ascend and there is at least one."""
    right = bisect_left(stamps, wanted)
    if right == 0:
        return 0
    if right == len(stamps):
        return len(stamps) - 1
    return right if stamps[right] - wanted < wanted - stamps[right - 1] else right - 1
