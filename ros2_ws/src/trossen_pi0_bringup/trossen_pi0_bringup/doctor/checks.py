"""The table of checks, and running them side by side."""

from __future__ import annotations

import functools
import os
import queue
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass

from trossen_pi0_bringup.doctor.arms import check_arm
from trossen_pi0_bringup.doctor.cameras import check_camera
from trossen_pi0_bringup.doctor.findings import Finding, fail, ok, skip, warn
from trossen_pi0_bringup.doctor.listening import Heard
from trossen_pi0_bringup.doctor.machine import (
    check_clock,
    check_disk,
    check_priority,
    check_processor,
    check_shared_memory,
)
from trossen_pi0_bringup.doctor.plan import Plan
from trossen_pi0_bringup.doctor.server import check_policy
from trossen_pi0_bringup.doctor.usb import check_usb
from trossen_pi0_bringup.nodes import shipped

LONGEST_S = 25.0
"""No check is waited for longer than this [s]."""

_GOOD_JOINT_RATE = 0.9
_SUITE = {"arm_controller", "policy", "recorder", "sim", "leader_arms"}


@dataclass(frozen=True)
class Check:
    """A part of the examination.

    Attributes:
        name: what is said of it if it takes too long or breaks.
        run: finds something; may block.
    """

    name: str
    run: Callable[[], Sequence[Finding]]


def checks_of(plan: Plan, heard: Future[Heard]) -> list[Check]:
    """All checks, in the order in which they are shown.

    Args:
        plan: what is used.
        heard: what the ROS graph tells, when it is known.
    """
    shared_memory = functools.partial(
        check_shared_memory, os.environ, shipped("config", "fastdds.xml")
    )
    usb = [] if plan.sim else [Check("USB", functools.partial(check_usb, plan.cameras))]
    return [
        Check("clock", check_clock),
        Check("processor", functools.partial(check_processor, sim=plan.sim)),
        Check(
            "real-time priority",
            lambda: check_priority(plan.arms.realtime_priority, sim=plan.sim),
        ),
        Check("shared memory", shared_memory),
        Check("disk", functools.partial(check_disk, plan)),
        *usb,
        *(
            Check(f"arm {arm}", lambda arm=arm: check_arm(plan, arm, heard.result().holder))
            for arm in plan.addresses
        ),
        *(
            Check(
                f"camera {camera.name}",
                lambda camera=camera: check_camera(
                    camera,
                    heard.result().pictures[camera.name],
                    sim=plan.sim,
                    running=is_running(plan, heard.result()),
                    oldest_s=plan.policy.max_observation_age_s if plan.policy else 0.3,
                ),
            )
            for camera in plan.cameras
        ),
        Check("joint states", lambda: check_joint_states(plan, heard.result())),
        Check("policy", functools.partial(check_policy, plan.policy)),
        Check("nodes", lambda: check_nodes(heard.result())),
    ]


def is_running(plan: Plan, heard: Heard) -> bool:
    """Whether the suite, or one of its cameras, runs."""
    wanted = _SUITE | {camera.name for camera in plan.cameras}
    return any(name.rpartition("/")[2] in wanted for name in heard.nodes) or any(
        pictures.publishers for pictures in heard.pictures.values()
    )


def check_joint_states(plan: Plan, heard: Heard) -> list[Finding]:
    """The rate of the joint states, while an arm controller runs."""
    what, arrivals = "joint states", heard.joint_states
    if not heard.holder:
        return [skip(what, "no arm controller runs")]
    if len(arrivals) < 2:
        return [fail(what, "none come", "is the arm controller active? Its log says why not")]
    rate_hz = (len(arrivals) - 1) / (arrivals[-1] - arrivals[0])
    told = f"{rate_hz:.1f} Hz, asked for {plan.arms.control_rate:g} Hz"
    if rate_hz < _GOOD_JOINT_RATE * plan.arms.control_rate:
        return [warn(what, told, "a busy computer, or a slow connection to the arms")]
    return [ok(what, told)]


def check_nodes(heard: Heard) -> list[Finding]:
    """What the running nodes say of themselves in /diagnostics."""
    if not heard.diagnostics:
        return [skip("nodes", "no node says anything in /diagnostics")]
    makers = {0: ok, 1: warn}
    bad = [
        makers.get(status.level[0], fail)(name, status.message)
        for name, status in sorted(heard.diagnostics.items())
        if status.level[0]
    ]
    fine = len(heard.diagnostics) - len(bad)
    return [*bad, ok("nodes", f"{fine} entries in /diagnostics are fine")]


def run_checks(
    checks: Sequence[Check], longest_s: float = LONGEST_S
) -> list[tuple[Check, list[Finding]]]:
    """Runs the checks at the same time and returns what they find, in their order.

    Args:
        checks: to run, each on a thread of its own; one that is not done in time is left alone.
        longest_s: for all of them together [s].
    """
    results: queue.Queue[tuple[int, list[Finding]]] = queue.Queue()
    for number, check in enumerate(checks):
        threading.Thread(
            target=_run, args=(number, check, results), name=f"doctor-{check.name}", daemon=True
        ).start()
    found: dict[int, list[Finding]] = {}
    end_s = time.monotonic() + longest_s
    while len(found) < len(checks) and (left_s := end_s - time.monotonic()) > 0:
        try:
            number, findings = results.get(timeout=left_s)
        except queue.Empty:
            break
        found[number] = findings
    late = f"no result within {longest_s:g} s"
    return [
        (check, found.get(number, [fail(check.name, late)])) for number, check in enumerate(checks)
    ]


def _run(number: int, check: Check, results: queue.Queue[tuple[int, list[Finding]]]) -> None:
    try:
        findings = list(check.run())
    except Exception as error:  # noqa: BLE001 - one broken check must not hide the others
        findings = [fail(check.name, f"the check broke: {type(error).__name__}: {error}")]
    results.put((number, findings))
