"""One arm as the control loop sees it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class ArmReading:
    """Feedback of one arm.

    Attributes:
        positions: shape (7,) [rad; m for the carriage].
        velocities: shape (7,) [rad/s; m/s].
        efforts: shape (7,) [N m; N].
        header_id: number of the feedback; it stands still when the arm's controller does.
        timestamp_us: the controller's own time of the feedback [us].
        external_efforts: efforts beyond gravity and friction, shape (7,) [N m; N].
    """

    positions: NDArray[np.float64]
    velocities: NDArray[np.float64]
    efforts: NDArray[np.float64]
    header_id: int
    timestamp_us: int
    external_efforts: NDArray[np.float64]


@dataclass(frozen=True)
class ArmLimits:
    """What an arm's controller allows, each array of shape (7,).

    Attributes:
        lower: smallest position [rad; m for the carriage].
        upper: largest position [rad; m].
        velocity: largest speed [rad/s; m/s]; the controller trips beyond it.
    """

    lower: NDArray[np.float64]
    upper: NDArray[np.float64]
    velocity: NDArray[np.float64]

    def equal(self, other: ArmLimits) -> bool:
        """Whether both allow the same."""
        return (
            np.array_equal(self.lower, other.lower)
            and np.array_equal(self.upper, other.upper)
            and np.array_equal(self.velocity, other.velocity)
        )


class Arm(Protocol):
    """An arm with 7 joints: six revolute ones and the left gripper carriage.

    ``read`` and ``command`` may be called by any one thread at a time, the control thread while it
    runs. ``connect``, ``release``, ``enable`` and ``disable`` block; any thread may call them while
    none reads or commands, and they wait for one another. All but ``release`` raise DriverError,
    which names the arm and its address.
    """

    @property
    def name(self) -> str:
        """Name of the arm, such as 'left'."""
        ...

    @property
    def address(self) -> str:
        """IP address of its controller."""
        ...

    @property
    def limits(self) -> ArmLimits:
        """Limits that the controller reported; between ``connect`` and ``release``. Any thread."""
        ...

    def connect(self) -> None:
        """Connects and reads the limits. The arm is then idle, on its brakes.

        Waits for at most the connection timeout. An error that the controller keeps from before is
        cleared.
        """
        ...

    def release(self) -> None:
        """Idles the arm and disconnects; may be called at any time and more than once.

        Waits for at most the connection timeout when the controller does not answer. The arm then
        holds its last set-point.
        """
        ...

    def enable(self) -> None:
        """Takes commands from now on.

        A follower goes to position mode and holds the pose it has; a leader can be moved by hand
        and holds its own weight.
        """
        ...

    def disable(self) -> None:
        """Idle mode: the arm brakes where it is."""
        ...

    def read(self) -> ArmReading:
        """Newest feedback. Returns within some milliseconds, even if the controller is silent."""
        ...

    def command(self, targets: NDArray[np.float64]) -> None:
        """Sets the targets, finite, shape (7,). Does not wait for them.

        They are positions of a follower [rad; m for the carriage] and external efforts of a leader
        [N m; N for the carriage].
        """
        ...
