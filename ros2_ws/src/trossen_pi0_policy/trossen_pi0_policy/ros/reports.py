"""Publishes what the policy does: status, diagnostics and log lines."""

from __future__ import annotations

import math
import time
from collections.abc import Callable

from rclpy.node import Node

from trossen_pi0_core.contract import NANOSECONDS
from trossen_pi0_core.parameters import PolicyParameters
from trossen_pi0_msgs.msg import PolicyStatus
from trossen_pi0_policy.changes import ChangeLog
from trossen_pi0_policy.diagnosis import PolicyDiagnosis
from trossen_pi0_policy.observations import ObservationBuffer
from trossen_pi0_policy.runner import PolicyRunner
from trossen_pi0_policy.state import PolicyState, RunnerStatus
from trossen_pi0_ros.convert import time_msg
from trossen_pi0_ros.diagnostics import Diagnostics
from trossen_pi0_ros.qos import STATUS

_DIAGNOSTICS_PERIOD_NS = NANOSECONDS


class Reports:
    """Status at its rate and on every change of state, diagnostics each second."""

    def __init__(
        self,
        node: Node,
        parameters: Callable[[], PolicyParameters],
        runner: PolicyRunner,
        observations: ObservationBuffer,
        diagnostics: Diagnostics,
    ) -> None:
        """Args:
        node: owner of the status publisher.
        parameters: present parameters of the node.
        runner: whose status is published.
        observations: counts pictures and knows their age.
        diagnostics: the node's entries.
        """
        self._node = node
        self._parameters = parameters
        self._backend = parameters().backend
        self._period_ns = round(NANOSECONDS / parameters().status_rate)
        self._runner = runner
        self._observations = observations
        self._publisher = node.create_publisher(PolicyStatus, "/policy/status", STATUS)
        self._diagnostics = diagnostics
        self._diagnosis = PolicyDiagnosis()
        self._changes = ChangeLog()
        self._advice: tuple[str, ...] = ()
        self._last: tuple[PolicyState, str, str] | None = None
        self._status_due_ns = 0
        self._diagnostics_due_ns = 0

    def close(self) -> None:
        """Ends the status topic."""
        self._node.destroy_publisher(self._publisher)

    def publish_if_due(self, now_ns: int) -> None:
        """Publishes what is due. Called several times a second by the callback thread."""
        status = self._runner.status()
        # Without a run the reason says how the backend is; ROS time may stand still meanwhile.
        told = (status.state, status.run_id, "" if status.run_id else status.reason)
        if told != self._last or is_due(self._status_due_ns, self._period_ns, now_ns):
            self._last = told
            self._status_due_ns = now_ns + self._period_ns
            self._publisher.publish(self._message(status, now_ns))
        if is_due(self._diagnostics_due_ns, _DIAGNOSTICS_PERIOD_NS, now_ns):
            self._diagnostics_due_ns = now_ns + _DIAGNOSTICS_PERIOD_NS
            self._diagnose(status, now_ns)
        for bad, line in self._changes.lines(status.state, status.reason, status.missing, now_ns):
            if bad:
                self._node.get_logger().warning(line)
            else:
                self._node.get_logger().info(line)
        for advice in status.advice:
            if advice not in self._advice:
                self._node.get_logger().warning(advice)
        self._advice = status.advice

    def _message(self, status: RunnerStatus, now_ns: int) -> PolicyStatus:
        age_ns = self._observations.newest_joints_age_ns(now_ns)
        message = PolicyStatus(
            state=int(status.state),
            reason=status.reason,
            backend=self._backend,
            prompt=status.prompt,
            run_id=status.run_id,
            chunk_id=status.chunk_id,
            chunks_published=status.chunks_published,
            execution=status.execution.name.lower(),
            pauses=status.pauses,
            expected_delay_s=status.expected_delay_s,
            inference_failures=status.inference_failures,
            images_received=self._observations.images_received,
            inference_latency_s=status.latency.inference_s,
            inference_latency_p50_s=status.latency_p50_s,
            inference_latency_p95_s=status.latency_p95_s,
            chunk_latency_s=status.latency.chunk_s,
            overhead_latency_s=status.latency.overhead_s,
            observation_age_s=math.nan if age_ns is None else age_ns / NANOSECONDS,
            missing=list(status.missing),
        )
        message.header.stamp = time_msg(now_ns)
        return message

    def _diagnose(self, status: RunnerStatus, now_ns: int) -> None:
        aspects = self._diagnosis.look(
            status,
            self._observations,
            self._parameters(),
            active=self._runner.enabled,
            now_s=time.monotonic(),
            now_ns=now_ns,
        )
        self._diagnostics.publish(*aspects)


def is_due(due_ns: int, period_ns: int, now_ns: int) -> bool:
    """Whether something periodic is due [ns]; also when the clock was set back meanwhile."""
    return now_ns >= due_ns or due_ns - now_ns > period_ns
