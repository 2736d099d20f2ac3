"""Gathers pictures and joint states from the callbacks and hands out observations."""

from __future__ import annotations

import threading
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from trossen_pi0_core.contract import Observation
from trossen_pi0_core.diagnostics import StreamWatch
from trossen_pi0_core.errors import ObservationError, TrossenPi0Error
from trossen_pi0_core.sync import ObservationAssembler, SyncTolerances

JOINT_STREAM = "joint states"
"""Name of the joint stream among what is missing; a camera's stream has the camera's name."""


class ObservationBuffer:
    """An ``ObservationAssembler`` for several threads, which remembers why it refused an input.

    Any thread may call anything. Inputs are kept by reference: nothing is copied or resized here.
    Stamps and times are ROS time [ns].
    """

    def __init__(
        self, joint_names: Sequence[str], cameras: Sequence[str], tolerances: SyncTolerances
    ) -> None:
        self._assembler = ObservationAssembler(joint_names, cameras, tolerances)
        self._lock = threading.Lock()
        self._refusals: dict[str, str] = {}
        self._images_received = 0
        self._watches = self._new_watches()

    @property
    def watches(self) -> dict[str, StreamWatch]:
        """Rate and age of each stream, whether its messages could be used or not."""
        return self._watches

    @property
    def images_received(self) -> int:
        """Pictures taken over all cameras."""
        return self._images_received

    def set_tolerances(self, tolerances: SyncTolerances) -> None:
        """Replaces the tolerances."""
        with self._lock:
            self._assembler.tolerances = tolerances

    def clear(self) -> None:
        """Forgets all inputs."""
        with self._lock:
            self._assembler = self._emptied()
            self._refusals.clear()
            self._images_received = 0
            self._watches = self._new_watches()

    def forget(self) -> None:
        """Forgets all inputs, as when the clock was set; what was counted stays."""
        with self._lock:
            self._assembler = self._emptied()
            self._refusals.clear()

    def add_image(
        self, camera: str, stamp_ns: int, image: NDArray[np.uint8], now_ns: int | None = None
    ) -> None:
        """Takes a picture, uint8 RGB of shape (height, width, 3); remembers why if it cannot.

        Args:
            camera: its name.
            stamp_ns: its stamp.
            image: the picture.
            now_ns: present time; a stamp far from it is refused, so that one bad stamp does not
                drive out the good ones. None: any stamp is taken.
        """
        with self._lock:
            try:
                self._assembler.add_image(camera, stamp_ns, image, now_ns)
            except TrossenPi0Error as error:
                self._refusals[camera] = str(error)
            else:
                self._images_received += 1
                self._refusals.pop(camera, None)

    def add_joints(
        self,
        stamp_ns: int,
        names: Sequence[str],
        positions: Sequence[float],
        now_ns: int | None = None,
    ) -> None:
        """Takes a joint state [rad; m for carriages]; remembers why if it cannot.

        Args:
            stamp_ns: its stamp.
            names: joints, in any order.
            positions: one for each name.
            now_ns: present time, as in ``add_image``.
        """
        with self._lock:
            try:
                self._assembler.add_joints(stamp_ns, names, positions, now_ns)
            except TrossenPi0Error as error:
                self._refusals[JOINT_STREAM] = str(error)
            else:
                self._refusals.pop(JOINT_STREAM, None)

    def heard(self, stream: str, stamp_ns: int, now_s: float) -> None:
        """Counts a message of a stream, before it is added or refused.

        Args:
            stream: its name.
            stamp_ns: the message's stamp [ns].
            now_s: present time on a clock that never jumps [s].
        """
        self._watches[stream].took(stamp_ns, now_s)

    def refusal(self, stream: str) -> str:
        """Why the last message of a stream could not be used; empty where it could."""
        with self._lock:
            return self._refusals.get(stream, "")

    def refuse(self, stream: str, reason: str) -> None:
        """Remembers why an input of a stream could not be used."""
        with self._lock:
            self._refusals[stream] = reason

    def missing(self, now_ns: int) -> list[str]:
        """What stands in the way of an observation: the stream's name, a colon and why."""
        with self._lock:
            return self._missing(now_ns)

    def assemble(self, now_ns: int, prompt: str) -> Observation:
        """Makes the newest observation in which all parts lie together.

        Raises:
            ObservationError: something is missing, too old, or out of tolerance; names all of it.
        """
        with self._lock:
            try:
                return self._assembler.assemble(now_ns, prompt)
            except ObservationError as error:
                refusals = [f"{stream} refused: {why}" for stream, why in self._refusals.items()]
                raise ObservationError("; ".join([str(error), *refusals])) from error

    def newest_joints_age_ns(self, now_ns: int) -> int | None:
        """Age of the newest joint state [ns], if there is one."""
        with self._lock:
            newest = self._assembler.newest_joints()
        return None if newest is None else now_ns - newest[0]

    def _new_watches(self) -> dict[str, StreamWatch]:
        streams = (*self._assembler.cameras, JOINT_STREAM)
        return {stream: StreamWatch() for stream in streams}

    def _emptied(self) -> ObservationAssembler:
        old = self._assembler
        return ObservationAssembler(old.joint_names, old.cameras, old.tolerances)

    def _missing(self, now_ns: int) -> list[str]:
        problems = self._assembler.missing(now_ns)
        for i, problem in enumerate(problems):
            refusal = self._refusals.get(stream_of(problem))
            if refusal:
                problems[i] = f"{problem}; refused: {refusal}"
        return problems


def stream_of(problem: str) -> str:
    """The stream that a part of ``missing`` speaks of."""
    return problem.split(":", 1)[0]
