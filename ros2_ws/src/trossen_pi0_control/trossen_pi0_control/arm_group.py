"""Several arms as one vector of joints."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Collection, Sequence
from concurrent.futures import Future, wait
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from trossen_pi0_control.arm import Arm
from trossen_pi0_control.arm_member import ArmMember
from trossen_pi0_control.workers import Team, run_in_thread, wait_for_all
from trossen_pi0_core.errors import DriverError
from trossen_pi0_core.joints import JointMap
from trossen_pi0_core.limits import JointLimits

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Feedback:
    """What could be read from the arms in one cycle; arms without live feedback are left out.

    Attributes:
        names: URDF names of the joints.
        positions: shape (joints,) [rad; m for carriages].
        velocities: shape (joints,) [rad/s; m/s].
        efforts: shape (joints,) [N m; N].
        complete: whether all arms are there.
        sent_s: when the last of the drivers had taken its newest command, on the monotonic clock
            [s]; 0 when there was none.
        still_s: for how long the feedback of an arm has stood still [s].
        external_efforts: efforts beyond gravity and friction, shape (joints,) [N m; N].
    """

    names: tuple[str, ...]
    positions: NDArray[np.float64]
    velocities: NDArray[np.float64]
    efforts: NDArray[np.float64]
    complete: bool
    sent_s: float = 0.0
    still_s: float = 0.0
    external_efforts: NDArray[np.float64] = field(default_factory=lambda: np.empty(0))


class ArmGroup:
    """The arms of one controller, in the order of a JointMap.

    ``cycle`` belongs to the control thread. The other methods belong to the owner, on any one
    thread at a time; of them only ``failures``, ``pose`` and ``repair`` may be used while the
    control thread runs.
    """

    def __init__(self, arms: Sequence[Arm], joints: JointMap, stale_s: float) -> None:
        """Takes the arms; nothing is connected yet.

        Args:
            arms: one for each arm of ``joints``, in its order.
            joints: names of the joints.
            stale_s: feedback that stands still for this long is a failure [s].
        """
        self._names = joints.urdf_names
        parts = [joints.arm_slice(arm) for arm in joints.arms]
        self._members = [
            ArmMember(arm, part, self._names[part], stale_s)
            for arm, part in zip(arms, parts, strict=True)
        ]
        self._team = Team([f"arm-io-{arm}" for arm in joints.arms])
        self._unwanted = threading.Event()

    @property
    def failures(self) -> dict[str, str]:
        """Name of each failed arm -> why."""
        return {m.arm.name: m.failure for m in self._members if m.failure}

    # Connection ---------------------------------------------------------------------------------

    def connect(self, stopping: threading.Event) -> None:
        """Connects all arms at once.

        Args:
            stopping: when set, the wait ends with an error.

        Raises:
            DriverError: what went wrong with each arm that failed.
        """
        futures = _on_each("connect", self._members, ArmMember.connect)
        if not wait_for_all(futures, stopping):
            raise DriverError("connecting was interrupted")
        _raise_all(futures)

    def release(self, timeout_s: float) -> None:
        """Idles and disconnects all connected arms at once; waits for at most ``timeout_s`` [s]."""
        self._unwanted.set()
        connected = [member for member in self._members if member.limits is not None]
        for member in connected:
            member.detach()
        futures = _on_each("release", connected, lambda member: member.arm.release())
        _log_failures(connected, futures, timeout_s, "be released")

    def tightened(self, limits: JointLimits) -> JointLimits:
        """The tighter of the given limits and those of the arms' controllers."""
        parts = [member.arm.limits for member in self._members]
        return limits.tightened(
            np.concatenate([part.lower for part in parts]),
            np.concatenate([part.upper for part in parts]),
            self.speeds(),
        )

    def speeds(self) -> NDArray[np.float64]:
        """What the arms' controllers allow, shape (joints,) [rad/s; m/s for carriages]."""
        return np.concatenate([member.arm.limits.velocity for member in self._members])

    # Operation ----------------------------------------------------------------------------------

    def begin(
        self, *, enable: bool, timeout_s: float, realtime_priority: int = 0
    ) -> NDArray[np.float64]:
        """Makes all arms ready for cycles and returns their pose, shape (joints,) [rad; m].

        Args:
            enable: have them take commands; otherwise the arms stay on their brakes.
            timeout_s: longest wait for braking the others after one has failed [s].
            realtime_priority: of the threads that talk to the arms, if it is granted; 0: none.

        Raises:
            DriverError: an arm failed; all are on their brakes again.
        """
        self._unwanted.clear()
        try:
            for member in self._members:
                member.attach(enable=enable)
        except DriverError:
            self.end(timeout_s)
            raise
        self._team.start(realtime_priority)
        return self.pose()

    def end(self, timeout_s: float) -> None:
        """Takes all arms out of cycles and brakes those that have not failed.

        Args:
            timeout_s: longest wait for them [s]. What fails is logged.
        """
        self._unwanted.set()
        self._team.stop()
        used = [member for member in self._members if member.detach() and not member.failure]
        futures = _on_each("brake", used, lambda member: member.arm.disable())
        _log_failures(used, futures, timeout_s, "brake")

    def pose(self) -> NDArray[np.float64]:
        """Newest positions of all arms, shape (joints,) [rad; m for carriages].

        Raises:
            DriverError: an arm has failed.
        """
        failures = self.failures
        if failures:
            raise DriverError("; ".join(failures.values()))
        return np.concatenate([m.reading.positions for m in self._members if m.reading])

    def held(self, commanded: NDArray[np.float64], anew: Collection[str]) -> NDArray[np.float64]:
        """Where to hold after a repair, shape (joints,) [rad; m for carriages].

        Arms that went on holding stay where they were told to be, which is not where a gripper
        with something in it is; from there to the measured pose would be a jump.

        Args:
            commanded: last commanded positions, shape (joints,) [rad; m for carriages].
            anew: names of the arms that were connected anew; they are held where they are.

        Raises:
            DriverError: an arm has failed.
        """
        positions = self.pose()
        for member in self._members:
            if member.arm.name not in anew:
                positions[member.joints] = commanded[member.joints]
        return positions

    def cycle(self, targets: NDArray[np.float64] | None, elapsed_s: float) -> Feedback:
        """Commands and reads each arm once, all at the same time.

        Args:
            targets: as the arms' ``command`` takes them, shape (joints,); None to read only.
            elapsed_s: time since the last cycle, as far as this process was able to run [s].
        """
        self._team.run([lambda m=m: m.exchange(targets, elapsed_s) for m in self._members])
        live = [member for member in self._members if member.is_live]
        readings = [member.reading for member in live if member.reading]
        complete = len(readings) == len(self._members)
        return Feedback(
            self._names if complete else tuple(name for m in live for name in m.names),
            _joined([reading.positions for reading in readings]),
            _joined([reading.velocities for reading in readings]),
            _joined([reading.efforts for reading in readings]),
            complete,
            max(member.sent_s for member in self._members),
            max((member.still_s for member in self._members if member.attached), default=0.0),
            _joined([reading.external_efforts for reading in readings]),
        )

    def repair(self, *, enable: bool) -> list[str]:
        """Disconnects the failed arms, connects them anew and makes them ready; blocks.

        Cycles leave these arms alone meanwhile and go on with the others.

        Returns:
            Names of these arms.

        Raises:
            DriverError: what went wrong with each arm that failed again.
        """
        failed = [member for member in self._members if member.failure]
        futures = _on_each(
            "repair", failed, lambda m: m.repair(enable=enable, unwanted=self._unwanted)
        )
        wait(futures)
        _raise_all(futures)
        return [member.arm.name for member in failed]


def _on_each(
    doing: str, members: Sequence[ArmMember], call: Callable[[ArmMember], None]
) -> list[Future[None]]:
    return [
        run_in_thread(f"{doing}-{member.arm.name}", lambda member=member: call(member))
        for member in members
    ]


def _joined(parts: list[NDArray[np.float64]]) -> NDArray[np.float64]:
    return np.concatenate(parts) if parts else np.empty(0)


def _log_failures(
    members: Sequence[ArmMember], futures: Sequence[Future[None]], timeout_s: float, what: str
) -> None:
    wait(futures, timeout=timeout_s)
    for member, future in zip(members, futures, strict=True):
        if not future.done():
            _log.error(
                "%s has not answered within %g s and may hold its last set-point, not %s",
                member,
                timeout_s,
                what,
            )
        elif future.exception() is not None:
            _log.error("%s", future.exception())


def _raise_all(futures: Sequence[Future[None]]) -> None:
    """Raises one DriverError for all that failed; other exceptions as they are."""
    errors = [error for future in futures if (error := future.exception()) is not None]
    for error in errors:
        if not isinstance(error, DriverError):
            raise error
    if errors:
        raise DriverError("; ".join(str(error) for error in errors)) from errors[0]
