"""An arm behind the vendor's driver, ``trossen_arm``."""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections.abc import Iterator, Mapping
from typing import TypeVar

import numpy as np
import trossen_arm
from numpy.typing import NDArray

from trossen_pi0_control.arm import ArmLimits, ArmReading
from trossen_pi0_core.errors import DriverError, ParameterError
from trossen_pi0_core.joints import JOINTS_PER_ARM
from trossen_pi0_core.parameters import ArmControllerParameters

_log = logging.getLogger(__name__)

_Choice = TypeVar("_Choice")

# The driver goes from set-point to set-point on a straight line in this many control periods and
# gives the line's speed to the controller as feed-forward, some 475 times a second. Measured on the
# wire at 100 Hz, 0.3 rad at 0.5 Hz, that is up to 0.47 rad/s (rms, against the trajectory as it was
# one delay before):
#
#     periods of the line      delay   positions   speeds       largest step
#     1.0                      13 ms   0.17 mrad   0.027 rad/s   1.4 mrad
#     1.5                      18 ms   0.13 mrad   0.018 rad/s   1.2 mrad
#     2.0                      23 ms   0.15 mrad   0.014 rad/s   1.5 mrad
#     none, no speeds given     9 ms   0.99 mrad   0.34 rad/s    4.9 mrad
#     none, speeds given        9 ms   0.99 mrad   0.003 rad/s   4.7 mrad
#
# Speeds given with a line change nothing: they are those at its end, which the next line replaces.
# Without a line they are sent as they are, but then the positions are a staircase of 100 Hz.
_GOAL_PERIODS = 1.5


class TrossenArm:
    """Adapter over one ``trossen_arm`` driver; threads as ``Arm`` says.

    The driver checks nothing that it is told, and raises nothing when the controller falls silent:
    ``read`` then returns the same ``header_id`` again and again.
    """

    def __init__(
        self,
        name: str,
        address: str,
        *,
        model: str,
        end_effector: str,
        timeout_s: float,
        control_rate: float,
    ) -> None:
        """Chooses the arm; nothing is connected yet.

        Args:
            name: name of the arm, for messages.
            address: IP address of its controller.
            model: name in ``trossen_arm.Model``.
            end_effector: name in ``trossen_arm.StandardEndEffector``.
            timeout_s: longest wait for the controller [s].
            control_rate: how often ``command`` will be called [Hz].

        Raises:
            ParameterError: an unknown model or end effector.
        """
        self._name = name
        self._address = address
        self._model = _choose("arm_models", model, trossen_arm.Model.__members__)
        self._end_effector = _choose("end_effectors", end_effector, _end_effectors())
        self._timeout_s = timeout_s
        self._goal_time_s = _GOAL_PERIODS / control_rate
        self._driver = _new_driver()
        # A driver that is cleaned up while it connects brings the process down.
        self._lock = threading.Lock()
        self._limits: ArmLimits | None = None

    @property
    def name(self) -> str:
        """Name of the arm."""
        return self._name

    @property
    def address(self) -> str:
        """IP address of its controller."""
        return self._address

    @property
    def limits(self) -> ArmLimits:
        """Limits that the controller reported when it was connected."""
        if self._limits is None:
            raise DriverError(f"{self}: the limits are known only while it is connected")
        return self._limits

    def connect(self) -> None:
        """Connects, clears an old error and reads the limits."""
        with self._lock:
            self._connect()

    def _connect(self) -> None:
        self._limits = None
        began_s = time.monotonic()
        try:
            self._configure(clear_error=False)
        except DriverError as error:
            if time.monotonic() - began_s >= self._timeout_s:
                raise
            # It answered at once, so it may be in an error state from before.
            self._discard()
            self._configure(clear_error=True)
            _log.warning("%s; cleared", error)
        self._limits = self._read_limits()

    def _read_limits(self) -> ArmLimits:
        with self._calling("reading the joint limits"):
            joints = self._driver.get_joint_limits()
        if len(joints) != JOINTS_PER_ARM:
            raise DriverError(f"{self}: need {JOINTS_PER_ARM} joints, it has {len(joints)}")
        return ArmLimits(
            np.array([joint.position_min for joint in joints]),
            np.array([joint.position_max for joint in joints]),
            np.array([joint.velocity_max for joint in joints]),
        )

    def release(self) -> None:
        """Idles the arm and disconnects."""
        with self._lock:
            self._limits = None
            self._discard()

    def enable(self) -> None:
        """Position mode."""
        with self._lock, self._calling("switching to position mode"):
            self._driver.set_all_modes(trossen_arm.Mode.position)

    def disable(self) -> None:
        """Idle mode."""
        with self._lock, self._calling("switching to idle mode"):
            self._driver.set_all_modes(trossen_arm.Mode.idle)

    def read(self) -> ArmReading:
        """Newest feedback."""
        with self._calling("reading"):
            output = self._driver.get_robot_output()
        joints = output.joint.all
        return ArmReading(
            np.array(joints.positions),
            np.array(joints.velocities),
            np.array(joints.efforts),
            output.header.id,
            output.header.timestamp,
            np.array(joints.external_efforts),
        )

    def command(self, targets: NDArray[np.float64]) -> None:
        """Sets the target positions."""
        self._check(targets, "positions")
        with self._calling("commanding"):
            self._driver.set_all_positions(
                trossen_arm.VectorDouble(targets.tolist()), self._goal_time_s, False
            )

    def _check(self, targets: NDArray[np.float64], what: str) -> None:
        if targets.shape != (JOINTS_PER_ARM,) or not np.isfinite(targets).all():
            raise DriverError(
                f"{self}: need {JOINTS_PER_ARM} finite {what}, got {targets.tolist()}"
            )

    def __str__(self) -> str:
        return f"arm {self._name} ({self._address})"

    def _discard(self) -> None:
        """Disconnects; the next connection gets a driver that knows of no earlier error."""
        try:
            with self._calling("releasing it"):
                self._driver.cleanup(False)
        except DriverError as error:
            _log.warning("%s", error)
        self._driver = _new_driver()

    def _configure(self, *, clear_error: bool) -> None:
        with self._calling(f"connecting (timeout {self._timeout_s:g} s)"):
            self._driver.configure(
                self._model, self._end_effector, self._address, clear_error, self._timeout_s
            )

    @contextlib.contextmanager
    def _calling(self, doing: str) -> Iterator[None]:
        """Turns the driver's exceptions into DriverError."""
        try:
            yield
        # Its RuntimeError and its LogicError derive from these two.
        except (RuntimeError, AssertionError) as error:
            raise DriverError(f"{self}: {doing} failed: {_told(error)}") from error


def _told(error: Exception) -> str:
    """The driver's text on one line, without the link to the vendor's web site."""
    lines = ["".join(filter(str.isprintable, line)) for line in str(error).splitlines()]
    return "; ".join(line for line in lines if not line.startswith("Please refer to"))


def trossen_arms(params: ArmControllerParameters) -> list[TrossenArm]:
    """The arms that the parameters describe, not yet connected.

    Raises:
        ParameterError: an unknown model or end effector.
    """
    each = zip(
        params.arms,
        params.arm_addresses,
        params.for_each_arm("arm_models"),
        params.for_each_arm("end_effectors"),
        strict=True,
    )
    return [
        TrossenArm(
            name,
            address,
            model=model,
            end_effector=end_effector,
            timeout_s=params.connect_timeout_s,
            control_rate=params.control_rate,
        )
        for name, address, model, end_effector in each
    ]


def _new_driver() -> trossen_arm.TrossenArmDriver:
    driver = trossen_arm.TrossenArmDriver()
    driver.set_log_level(trossen_arm.LogLevel.warn)
    return driver


def _end_effectors() -> dict[str, trossen_arm.EndEffector]:
    known = vars(trossen_arm.StandardEndEffector)
    return {
        name: getattr(trossen_arm.StandardEndEffector, name)
        for name in sorted(known)
        if not name.startswith("_")
    }


def _choose(parameter: str, name: str, known: Mapping[str, _Choice]) -> _Choice:
    if name not in known:
        raise ParameterError(f"{parameter}: {name!r} is not one of {sorted(known)}")
    return known[name]
