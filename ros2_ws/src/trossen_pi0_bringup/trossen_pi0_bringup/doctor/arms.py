"""The arms: reachable, free, of the right version, with sound limits, without an error."""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Mapping, Sequence

import numpy as np
import psutil

from trossen_pi0_bringup.doctor.findings import Finding, fail, ok, skip, warn
from trossen_pi0_bringup.doctor.plan import Plan
from trossen_pi0_control.inspection import Inspection, inspect_arm, is_version_mismatch
from trossen_pi0_core.errors import DriverError, ParameterError
from trossen_pi0_core.joints import ARM_JOINTS
from trossen_pi0_core.limits import JointLimits

PORT = 50001
"""Of the arms' controllers, TCP."""

REACH_S = 1.0
CONNECT_S = 4.0

_ROOM = 1e-3  # rad or m; what single precision and rounding make of a limit stays far below it


def check_arm(plan: Plan, arm: str, holder: str) -> list[Finding]:
    """All about one arm. It stays on its brakes; one that a driver holds is left alone.

    Args:
        plan: what is used.
        arm: its name.
        holder: the node that is connected to arms; empty when there is none.
    """
    what, address = f"arm {arm}", plan.addresses[arm]
    if holder:
        return [
            skip(what, f"held by the node {holder}, left alone: see what it says of itself below")
        ]
    if is_connected(address):
        return [
            fail(
                what,
                f"{address}: a program on this machine is connected to it, left alone",
                "an arm takes one driver: end the other one",
            )
        ]
    problem = unreachable(address)
    if problem:
        return [fail(what, f"{address}: {problem}", network_advice(address, sim=plan.sim))]
    number = plan.arms.arms.index(arm)
    try:
        seen = inspect_arm(
            arm,
            address,
            model=plan.arms.for_each_arm("arm_models")[number],
            end_effector=plan.arms.for_each_arm("end_effectors")[number],
            timeout_s=CONNECT_S,
        )
    except (DriverError, ParameterError) as error:
        return [ok(what, f"{address} answers"), _refused(arm, error)]
    return [
        ok(what, f"{address} answers"),
        ok(
            f"{what} versions",
            f"driver {seen.driver_version}, firmware {seen.firmware_version}",
        ),
        *_state(what, seen),
        *check_limits(plan, arm, seen),
    ]


def is_connected(address: str) -> bool:
    """Whether a program on this machine has a connection to an arm's controller."""
    return any(
        c.raddr and tuple(c.raddr) == (address, PORT) and c.status == psutil.CONN_ESTABLISHED
        for c in psutil.net_connections("tcp")
    )


def unreachable(address: str) -> str:
    """Why nobody can be reached at an arm's address; empty when somebody can."""
    try:
        with socket.create_connection((address, PORT), REACH_S):
            return ""
    except TimeoutError:
        return f"no answer on TCP port {PORT} within {REACH_S:g} s"
    except OSError as error:
        return f"TCP port {PORT}: {error.strerror or error}"


def network_advice(address: str, *, sim: bool) -> str:
    """What to do about an arm that is not reached."""
    if sim:
        return "is the simulated kit running? `make sim` starts it"
    if not _has_network(address):
        network = ipaddress.ip_network(f"{address}/24", strict=False)
        return f"this machine has no address in {network}: give its network port one"
    return "is the arm's controller on, and its cable plugged in?"


def check_limits(plan: Plan, arm: str, seen: Inspection) -> list[Finding]:
    """The controller's limits against those configured, and the poses and the arm in the result."""
    what, part = f"arm {arm} limits", plan.arms.joint_map.arm_slice(arm)
    configured = plan.arms.limits
    own = JointLimits(
        ARM_JOINTS,
        configured.lower[part],
        configured.upper[part],
        configured.velocity[part],
        configured.acceleration[part],
    )
    told = seen.limits
    try:
        used = own.tightened(told.lower, told.upper, told.velocity)
    except ParameterError as error:
        return [fail(what, f"the controller's limits make no sense: {error}", _SET_LIMITS)]
    findings: list[Finding] = []
    tighter = [
        f"{joint} {_range(told.lower[i], told.upper[i])} at {told.velocity[i]:.4g}/s"
        for i, joint in enumerate(ARM_JOINTS)
        if told.lower[i] > own.lower[i] + _ROOM
        or told.upper[i] < own.upper[i] - _ROOM
        or told.velocity[i] < own.velocity[i] - _ROOM
    ]
    if tighter:
        text = f"the controller allows less than configured: {', '.join(tighter)}"
        findings.append(warn(what, text, f"the arm controller keeps to that; {_SET_LIMITS}"))
    outside = _outside_poses(plan, part, used)
    if outside:
        findings.append(fail(what, "; ".join(outside), _SET_LIMITS))
    beyond = _beyond(seen.positions, used)
    if beyond:
        findings.append(
            fail(
                f"arm {arm} position",
                f"outside the limits: {', '.join(beyond)}",
                "move the arm by hand into them, brakes off as its manual says",
            )
        )
    return findings or [ok(what, "the controller allows all that is configured")]


_SET_LIMITS = "set the controller's limits with the vendor's tool, or the node's to fit"


def _state(what: str, seen: Inspection) -> list[Finding]:
    idle = seen.modes == {"idle"}
    modes = "on its brakes" if idle else f"modes {sorted(seen.modes)}"
    if seen.error.strip().lower() == "no error":
        return [ok(f"{what} state", f"no error, {modes}")]
    return [fail(f"{what} state", f"{seen.error}, {modes}", "the arm controller clears it")]


def _refused(arm: str, error: DriverError | ParameterError) -> Finding:
    if isinstance(error, DriverError) and is_version_mismatch(error):
        return fail(
            f"arm {arm} versions",
            str(error),
            "update the controller's firmware, or install the driver that fits it: "
            "`pip install trossen-arm==MAJOR.MINOR.*`",
        )
    return fail(
        f"arm {arm} state",
        str(error),
        "an error from before is cleared when the arm controller connects; find its cause first",
    )


def _outside_poses(plan: Plan, part: slice, used: JointLimits) -> list[str]:
    poses: Mapping[str, Sequence[float]] = {
        "staged": plan.arms.staged_pose,
        "home": plan.arms.home_pose,
    }
    told: list[str] = []
    for name, values in poses.items():
        pose = np.asarray(values)
        pose = pose[part] if pose.size > len(ARM_JOINTS) else pose
        beyond = _beyond(pose, used)
        if beyond:
            told.append(f"the pose {name!r} lies outside: {', '.join(beyond)}")
    return told


def _beyond(positions: np.ndarray, limits: JointLimits) -> list[str]:
    return [
        f"{joint} at {positions[i]:.4g}, allowed {_range(limits.lower[i], limits.upper[i])}"
        for i, joint in enumerate(ARM_JOINTS)
        if not limits.lower[i] - _ROOM <= positions[i] <= limits.upper[i] + _ROOM
    ]


def _range(low: float, high: float) -> str:
    return f"[{low:.4g}, {high:.4g}]"


def _has_network(address: str) -> bool:
    """Whether this machine has an address in the network of another, by its own netmask."""
    wanted = ipaddress.ip_address(address)
    for known in psutil.net_if_addrs().values():
        for each in known:
            if each.family == socket.AF_INET and each.netmask:
                network = ipaddress.ip_network(f"{each.address}/{each.netmask}", strict=False)
                if wanted in network:
                    return True
    return False
