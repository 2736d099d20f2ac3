"""Cameras and joint states fail on their way to the policy."""

import copy

import numpy as np
import pytest

from fault_harness.kit import WIDTH, picture
from fault_harness.stack import MAX_CHUNK_AGE_S, MAX_OBSERVATION_AGE_S
from trossen_pi0_core.execution import State
from trossen_pi0_policy.state import PolicyState
from trossen_pi0_ros.convert import time_msg, time_ns

SYNC_TOLERANCE_S = 0.05
CAMERA_S = MAX_OBSERVATION_AGE_S + SYNC_TOLERANCE_S


def shifted(seconds):
    """Stamps are wrong."""

    def change(message):
        changed = copy.copy(message)
        changed.header = copy.deepcopy(message.header)
        changed.header.stamp = time_msg(time_ns(message.header.stamp) + round(seconds * 1e9))
        return changed

    return change


def frozen():
    """The first stamp again and again."""
    stamps = []

    def change(message):
        stamps.append(copy.deepcopy(message.header.stamp))
        changed = copy.copy(message)
        changed.header = copy.deepcopy(message.header)
        changed.header.stamp = stamps[0]
        return changed

    return change


def with_fields(**fields):
    """Other values in the message."""

    def change(message):
        changed = copy.copy(message)
        for name, value in fields.items():
            setattr(changed, name, value)
        return changed

    return change


def short(message):
    changed = copy.copy(message)
    changed.data = message.data[: 3 * WIDTH * 60]
    return changed


CAMERA_FAULTS = {
    "gone": (lambda: lambda _: None, "newest picture is"),
    "frozen": (frozen, "newest picture is"),
    "encoding mono8": (lambda: with_fields(encoding="mono8"), "encoding 'mono8'"),
    "encoding 16UC1": (lambda: with_fields(encoding="16UC1"), "encoding '16UC1'"),
    "half of the data": (lambda: short, "got step"),
    "no pixels": (lambda: with_fields(width=0, height=0), "refused"),
    "stamps 10 s in the past": (lambda: shifted(-10.0), "refused: stamped 10.0"),
    "stamps 10 s in the future": (lambda: shifted(10.0), "s in the future"),
}


@pytest.mark.parametrize("name", CAMERA_FAULTS)
def test_camera(campaign, stack, name):
    make, reason = CAMERA_FAULTS[name]
    with campaign.fault(stack, f"camera: {name}", "STARVED") as fault:
        camera = stack.kit.cameras["cam_left_wrist"]
        change = make()
        fault.inject(lambda: setattr(camera, "change", change))
        fault.holds(CAMERA_S, State.STARVED)
        fault.policy_says(PolicyState.STALLED, reason)
        fault.same_run_goes_on()


def test_all_cameras_gone(campaign, stack):
    with campaign.fault(stack, "cameras: all gone", "STARVED") as fault:

        def act():
            for camera in stack.kit.cameras.values():
                camera.change = lambda _: None

        fault.inject(act)
        fault.holds(CAMERA_S, State.STARVED)
        fault.policy_says(PolicyState.STALLED, "cam_high: newest picture is")
        fault.same_run_goes_on()


def test_another_size_is_fitted(campaign, stack):
    """Pictures are fitted into the policy's square, with padding, whatever their size."""
    small = picture(np.random.default_rng(7), 80, 100)

    def change(message):
        changed = copy.copy(small)
        changed.header = message.header
        return changed

    with campaign.fault(stack, "camera: another size mid-run", "EXECUTING") as fault:
        fault.inject(lambda: setattr(stack.kit.cameras["cam_high"], "change", change))
        fault.goes_on(1.5)


def reversed_names(message):
    changed = copy.copy(message)
    changed.name = [f"other_{name}" for name in message.name]
    return changed


def one_arm(message):
    changed = copy.copy(message)
    changed.name, changed.position = message.name[:7], message.position[:7]
    return changed


def nan_position(message):
    changed = copy.deepcopy(message)
    changed.position[4] = float("nan")
    return changed


JOINT_FAULTS = {
    "stopped": (lambda: lambda _: None, "joint states: "),
    "NaN": (lambda: nan_position, "not finite"),
    "wrong names": (lambda: reversed_names, "joint"),
    "one arm only": (lambda: one_arm, "joint"),
    "stamps frozen": (frozen, "joint states: "),
    "stamps 10 s in the past": (lambda: shifted(-10.0), "joint states: "),
    "stamps 10 s in the future": (lambda: shifted(10.0), "joint states: "),
}


@pytest.mark.parametrize("name", JOINT_FAULTS)
def test_joint_states(campaign, stack, name):
    make, reason = JOINT_FAULTS[name]
    with campaign.fault(stack, f"joint states: {name}", "STARVED") as fault:
        change = make()
        fault.inject(lambda: setattr(stack.kit, "change_joints", change))
        fault.holds(MAX_OBSERVATION_AGE_S, State.STARVED)
        fault.policy_says(PolicyState.STALLED, reason)
        fault.same_run_goes_on()
    assert MAX_OBSERVATION_AGE_S < MAX_CHUNK_AGE_S  # else the chunk's age would be the watchdog
