"""Transitions of managed nodes over their services: what is done, logged and answered."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from lifecycle_msgs.msg import State, Transition
from lifecycle_msgs.srv import ChangeState, GetState
from typing_extensions import override

from trossen_pi0_core.errors import DriverError
from trossen_pi0_ros.managed_node import ManagedNode

if TYPE_CHECKING:
    from .conftest import Ros

    Log = pytest.CaptureFixture[str]

CONFIGURE = Transition.TRANSITION_CONFIGURE
CLEANUP = Transition.TRANSITION_CLEANUP
ACTIVATE = Transition.TRANSITION_ACTIVATE
DEACTIVATE = Transition.TRANSITION_DEACTIVATE
UNCONFIGURED = State.PRIMARY_STATE_UNCONFIGURED
INACTIVE = State.PRIMARY_STATE_INACTIVE
ACTIVE = State.PRIMARY_STATE_ACTIVE
FINALIZED = State.PRIMARY_STATE_FINALIZED


@pytest.fixture
def log(capfd: Log) -> Log:
    """What the nodes log, by ``readouterr().err``."""
    return capfd


class Recorder(ManagedNode):
    """Notes its steps, and fails in those it is told to."""

    def __init__(self, context: Any, failing: dict[str, Exception]) -> None:
        super().__init__("recorder", context=context)
        self.failing = failing
        self.steps: list[str] = []

    def _step(self, name: str) -> None:
        self.steps.append(name)
        if name in self.failing:
            raise self.failing[name]

    @override
    def configure(self) -> None:
        self._step("configure")

    @override
    def activate(self) -> None:
        assert not self.active
        self._step("activate")

    @override
    def deactivate(self) -> None:
        assert not self.active
        self._step("deactivate")

    @override
    def cleanup(self) -> None:
        self._step("cleanup")


class Rig:
    """A recorder and a client of its services."""

    def __init__(self, ros: Ros, failing: dict[str, Exception] | None = None) -> None:
        self._ros = ros
        tester = ros.node()
        self.node = Recorder(ros.context, failing or {})
        ros.add(self.node)
        self._change = tester.create_client(ChangeState, "/recorder/change_state")
        self._state = tester.create_client(GetState, "/recorder/get_state")

    def change(self, *transitions: int) -> list[bool]:
        """Requests transitions; the answers."""
        return [
            self._ros.call(self._change, ChangeState.Request(transition=Transition(id=t))).success
            for t in transitions
        ]

    @property
    def state(self) -> int:
        return self._ros.call(self._state, GetState.Request()).current_state.id


def test_each_transition_is_one_step(ros: Ros) -> None:
    rig = Rig(ros)
    assert rig.state == UNCONFIGURED
    assert rig.change(CONFIGURE, ACTIVATE) == [True, True]
    assert rig.state == ACTIVE
    assert rig.node.active
    assert rig.change(DEACTIVATE) == [True]
    assert not rig.node.active
    assert rig.change(ACTIVATE, DEACTIVATE, CLEANUP) == [True] * 3
    assert rig.state == UNCONFIGURED
    assert rig.node.steps == [
        "configure",
        "activate",
        "deactivate",
        "activate",
        "deactivate",
        "cleanup",
    ]


def test_a_failed_configure_is_cleaned_up_and_logged_with_its_reason(log: Log, ros: Ros) -> None:
    rig = Rig(ros, {"configure": DriverError("no arm at 127.0.0.9")})
    assert rig.change(CONFIGURE) == [False]
    assert rig.state == UNCONFIGURED
    assert rig.node.steps == ["configure", "cleanup"]
    assert "[recorder]: configure: no arm at 127.0.0.9\n" in log.readouterr().err
    rig.node.failing.clear()
    assert rig.change(CONFIGURE) == [True]


def test_a_bug_in_a_step_is_logged_with_its_traceback(log: Log, ros: Ros) -> None:
    rig = Rig(ros, {"configure": KeyError("no such thing")})
    assert rig.change(CONFIGURE) == [False]
    text = log.readouterr().err
    assert "[recorder]: configure: KeyError('no such thing')\nTraceback" in text
    assert "in _step" in text


def test_a_failed_activate_is_undone_and_can_be_tried_again(log: Log, ros: Ros) -> None:
    rig = Rig(ros, {"activate": DriverError("asleep")})
    assert rig.change(CONFIGURE, ACTIVATE) == [True, False]
    assert rig.state == INACTIVE
    assert not rig.node.active
    assert rig.node.steps == ["configure", "activate", "deactivate"]
    assert "[recorder]: activate: asleep\n" in log.readouterr().err
    rig.node.failing.clear()
    assert rig.change(ACTIVATE) == [True]
    assert rig.node.active


@pytest.mark.parametrize(("step", "transition"), [("deactivate", DEACTIVATE), ("cleanup", CLEANUP)])
def test_a_failed_release_leaves_nothing_in_force(
    log: Log, ros: Ros, step: str, transition: int
) -> None:
    rig = Rig(ros, {step: DriverError("stuck")})
    before = [CONFIGURE, ACTIVATE] if step == "deactivate" else [CONFIGURE]
    assert rig.change(*before, transition) == [True] * len(before) + [False]
    assert f"[recorder]: {step}: stuck\n" in log.readouterr().err
    assert rig.state == UNCONFIGURED
    assert not rig.node.active
    assert rig.node.steps[-1] == "cleanup"


def test_shutdown_releases_everything(ros: Ros) -> None:
    rig = Rig(ros)
    rig.change(CONFIGURE, ACTIVATE)
    assert rig.change(Transition.TRANSITION_ACTIVE_SHUTDOWN) == [True]
    assert rig.state == FINALIZED
    assert rig.node.steps[-2:] == ["deactivate", "cleanup"]


@pytest.mark.parametrize(
    ("before", "wrong", "state"),
    [
        ([], ACTIVATE, UNCONFIGURED),
        ([], DEACTIVATE, UNCONFIGURED),
        ([CONFIGURE], CONFIGURE, INACTIVE),
        ([CONFIGURE, ACTIVATE], ACTIVATE, ACTIVE),
        ([CONFIGURE, ACTIVATE], CLEANUP, ACTIVE),
        ([CONFIGURE], 250, INACTIVE),
    ],
)
def test_a_transition_that_is_not_possible_now_is_refused_and_does_no_harm(
    log: Log, ros: Ros, before: list[int], wrong: int, state: int
) -> None:
    rig = Rig(ros)
    rig.change(*before)
    steps = list(rig.node.steps)
    assert rig.change(wrong) == [False]
    assert rig.state == state
    assert rig.node.steps == steps
    assert f"[recorder]: transition {wrong} is not possible now: " in log.readouterr().err


def test_autostart_configures_and_activates(ros: Ros) -> None:
    rig = Rig(ros)
    assert rig.node.autostart()
    assert rig.node.steps == ["configure", "activate"]
    assert rig.state == ACTIVE


@pytest.mark.parametrize("step", ["configure", "activate"])
def test_autostart_says_when_a_step_has_failed(ros: Ros, step: str) -> None:
    rig = Rig(ros, {step: DriverError("no")})
    assert not rig.node.autostart()


def test_close_releases_what_is_in_force_even_if_a_step_fails(ros: Ros) -> None:
    rig = Rig(ros, {"deactivate": DriverError("stuck")})
    assert rig.node.autostart()
    rig.node.close()
    assert rig.node.steps == ["configure", "activate", "deactivate", "cleanup"]
    assert not rig.node.active
    rig.node.close()
    assert rig.node.steps[4:] == ["cleanup"]


def test_a_node_starts_by_itself_only_if_it_says_so(ros: Ros) -> None:
    assert Rig(ros).node.wants_autostart is False
