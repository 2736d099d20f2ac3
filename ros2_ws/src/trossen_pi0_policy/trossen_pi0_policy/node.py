"""The policy node: observations in, action chunks out, one run at a time."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

from rclpy.clock import ROSClock
from rclpy.duration import Duration
from typing_extensions import override

from trossen_pi0_core.contract import ActionChunk
from trossen_pi0_core.errors import ParameterError
from trossen_pi0_core.parameters import PolicyParameters
from trossen_pi0_core.scheduling import yield_to_others
from trossen_pi0_core.sync import SyncTolerances
from trossen_pi0_msgs.msg import ActionChunk as ActionChunkMsg
from trossen_pi0_policy.backends import BackendContext, LatestGroundTruth, make_backend
from trossen_pi0_policy.observations import ObservationBuffer
from trossen_pi0_policy.ros.arm_controller_link import ArmControllerLink
from trossen_pi0_policy.ros.inputs import Inputs
from trossen_pi0_policy.ros.reports import Reports
from trossen_pi0_policy.ros.run_server import RunServer
from trossen_pi0_policy.ros.ticker import Ticker
from trossen_pi0_policy.runner import PolicyRunner
from trossen_pi0_policy.state import RunSettings
from trossen_pi0_ros.convert import chunk_to_msg
from trossen_pi0_ros.diagnostics import Diagnostics
from trossen_pi0_ros.managed_node import ManagedNode
from trossen_pi0_ros.parameters import NodeParameters
from trossen_pi0_ros.process import leave_foreign_code, run_node
from trossen_pi0_ros.qos import COMMANDS

_FLUSH = Duration(seconds=0.2)


class PolicyNode(ManagedNode):
    """Wires cameras, joint states and the arm controller to a policy backend.

    Callbacks come from one thread. The backend has a thread of its own in ``PolicyRunner``, which
    also publishes the chunks.
    """

    def __init__(self, **kwargs: Any) -> None:
        super().__init__("policy", **kwargs)
        self._settings = NodeParameters(self, PolicyParameters, self._apply, self._check)
        self._diagnostics = Diagnostics(self)
        self._observations: ObservationBuffer | None = None
        self._ground_truth: LatestGroundTruth | None = None
        self._runner: PolicyRunner | None = None
        self._inputs: Inputs | None = None
        self._chunks: Any = None
        self._parts: list[Any] = []

    @property
    @override
    def wants_autostart(self) -> bool:
        return self._settings.value.autostart

    @property
    def niceness(self) -> int:
        """Wanted of a process that is the node's alone."""
        return self._settings.value.niceness

    @override
    def configure(self) -> None:
        parameters = self._settings.value
        names = parameters.joint_map.urdf_names
        truth = LatestGroundTruth()
        backend = make_backend(parameters.backend, BackendContext(parameters, truth))
        self._ground_truth = truth if backend.needs_ground_truth else None
        self._observations = ObservationBuffer(names, parameters.cameras, _tolerances(parameters))
        self._chunks = self.create_publisher(ActionChunkMsg, "/policy/action_chunk", COMMANDS)
        clock = self.get_clock()
        assert isinstance(clock, ROSClock)
        runner = self._runner = PolicyRunner(
            backend,
            self._observations,
            RunSettings.of(parameters),
            names,
            now_ns=self._now_ns,
            publish=self._publish,
            simulated=lambda: clock.ros_time_is_active,
        )
        settings = self._settings
        reports = Reports(
            self, lambda: settings.value, runner, self._observations, self._diagnostics
        )
        ticker = Ticker(self, lambda: self._on_tick(runner, reports))
        link = ArmControllerLink(self, ticker, runner.controller)
        server = RunServer(self, runner, link, ticker, lambda: self._settings.value)
        self._parts = [server, link, ticker, reports]

    @override
    def activate(self) -> None:
        assert self._runner is not None
        assert self._observations is not None
        self._observations.clear()
        self._inputs = Inputs(self, self._settings.value, self._observations, self._ground_truth)
        self._runner.enable()

    @override
    def deactivate(self) -> None:
        if self._runner:
            self._runner.disable("the policy node was deactivated")
            self._chunks.wait_for_all_acked(_FLUSH)
        if self._inputs:
            self._inputs.close()
            self._inputs = None

    @override
    def cleanup(self) -> None:
        if self._runner:
            self._runner.close()
            self._runner = None
        while self._parts:
            self._parts.pop(0).close()
        if self._chunks is not None:
            self.destroy_publisher(self._chunks)
            self._chunks = None

    def _check(self, present: PolicyParameters, proposed: PolicyParameters) -> None:
        """Refuses what the policy's last chunk rules out."""
        rate, rows = proposed.rate_of_inference, self._runner.horizon if self._runner else 0
        if rows and rate > rows and rate != present.rate_of_inference:
            raise ParameterError(
                f"rate_of_inference: {rate} is not possible, the policy's chunks have {rows} rows"
            )

    def _apply(self, parameters: PolicyParameters) -> None:
        if self._observations:
            self._observations.set_tolerances(_tolerances(parameters))
        if self._runner:
            self._runner.apply(RunSettings.of(parameters))

    def _on_tick(self, runner: PolicyRunner, reports: Reports) -> None:
        runner.poll()
        reports.publish_if_due(self._now_ns())

    def _publish(self, chunk: ActionChunk, published_ns: int) -> None:
        self._chunks.publish(chunk_to_msg(chunk, published_ns))

    def _now_ns(self) -> int:
        return self.get_clock().now().nanoseconds


def _tolerances(parameters: PolicyParameters) -> SyncTolerances:
    return SyncTolerances(
        sync_ns=round(parameters.sync_tolerance_s * 1e9),
        max_age_ns=round(parameters.max_observation_age_s * 1e9),
    )


def _make_nice_node() -> PolicyNode:
    node = PolicyNode()
    yield_to_others(node.niceness)
    return node


def main(args: Sequence[str] | None = None) -> int:
    """Runs the node until it is told to end; returns the exit status."""
    status = run_node(_make_nice_node, args)
    leave_foreign_code(status)
    return status


if __name__ == "__main__":
    sys.exit(main())
