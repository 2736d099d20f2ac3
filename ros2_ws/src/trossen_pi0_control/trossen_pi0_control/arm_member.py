"""One arm of a group: what it was last heard to say, and whether it has failed."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from trossen_pi0_control.arm import Arm, ArmLimits, ArmReading
from trossen_pi0_core.errors import DriverError


@dataclass
class ArmMember:
    """An arm, attached while cycles use it.

    ``exchange`` belongs to one thread at a time, the others to the owner of the group.

    Attributes:
        arm: the arm.
        joints: where its joints lie in the vector of all.
        names: URDF names of its joints.
        stale_s: feedback that stands still for this long is a failure [s].
        limits: what its controller allowed when it was first connected; None before.
        attached: whether cycles use it.
        failure: why it has failed; empty while it has not.
        reading: newest live feedback.
        still_s: for how long the feedback has stood still [s].
        sent_s: when its driver had taken the last command, on the monotonic clock [s].
    """

    arm: Arm
    joints: slice
    names: tuple[str, ...]
    stale_s: float
    limits: ArmLimits | None = None
    attached: bool = False
    failure: str = ""
    reading: ArmReading | None = None
    still_s: float = 0.0
    sent_s: float = 0.0
    # Held while the driver is called in a cycle, and to attach and detach.
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def is_live(self) -> bool:
        """Whether ``reading`` is of the present."""
        return self.attached and self.reading is not None and self.still_s < self.stale_s

    def __str__(self) -> str:
        return f"arm {self.arm.name} ({self.arm.address})"

    def connect(self) -> None:
        """Connects the arm; blocks. Raises DriverError."""
        self.arm.connect()
        self.limits = self.arm.limits

    def attach(self, *, enable: bool) -> None:
        """Reads the arm and lets cycles use it.

        Args:
            enable: have it take commands first.

        Raises:
            DriverError: it failed.
        """
        if enable:
            self.arm.enable()
        reading = self.arm.read()
        problem = _problem(reading)
        if problem:
            raise DriverError(f"{self}: {problem}")
        with self._lock:
            self.reading = reading
            self.still_s = 0.0
            self.failure = ""
            self.attached = True

    def detach(self) -> bool:
        """Keeps cycles away from the arm from now on; returns whether they used it."""
        with self._lock:
            was_attached, self.attached = self.attached, False
            return was_attached

    def repair(self, *, enable: bool, unwanted: threading.Event) -> None:
        """Disconnects the arm, connects it anew and attaches it; blocks.

        Args:
            enable: have it take commands.
            unwanted: when set, the arm is left disconnected.

        Raises:
            DriverError: it failed again, allows something else than before, or is unwanted.
        """
        self.detach()
        self.arm.release()
        self.arm.connect()
        problem = ""
        if self.limits is None or not self.limits.equal(self.arm.limits):
            problem = "its joint limits have changed; clean the node up and configure it again"
        elif unwanted.is_set():
            problem = "connected again, but no longer wanted"
        if problem:
            self.arm.release()
            raise DriverError(f"{self}: {problem}")
        self.attach(enable=enable)

    def exchange(self, targets: NDArray[np.float64] | None, elapsed_s: float) -> None:
        """Commands and reads the arm once, if it is attached.

        Args:
            targets: of all arms, as their ``command`` takes them, shape (joints,); None to read
                only.
            elapsed_s: time since the last exchange, as far as this process was able to run [s].
        """
        with self._lock:
            if not self.attached:
                return
            try:
                if targets is not None:
                    self.arm.command(targets[self.joints])
                    self.sent_s = time.monotonic()
                reading = self.arm.read()
            except DriverError as error:
                # The driver would raise at each further call, and log it each time.
                self.attached = False
                self.failure = str(error)
                return
            self._watch(reading, elapsed_s)

    def _watch(self, reading: ArmReading, elapsed_s: float) -> None:
        """Takes the reading if it is a new one; otherwise counts how long there was none."""
        last = self.reading
        same = last is not None and (reading.header_id, reading.timestamp_us) == (
            last.header_id,
            last.timestamp_us,
        )
        problem = "its feedback stands still" if same else _problem(reading)
        if not problem:
            self.reading = reading
            self.still_s = 0.0
            return
        self.still_s += elapsed_s
        if self.still_s >= self.stale_s and not self.failure:
            self.failure = (
                f"{self}: {problem} for {self.still_s:.2f} s, allowed are {self.stale_s:g} s; "
                "is its controller on and its cable plugged in?"
            )


def _problem(reading: ArmReading) -> str:
    for label in ("positions", "velocities", "efforts", "external_efforts"):
        values = getattr(reading, label)
        if not np.isfinite(values).all():
            return f"its {label} are not finite: {values.tolist()}"
    return ""
