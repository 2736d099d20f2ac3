"""The bench's operator: sets parameters, keeps a run going, looks at the statuses."""

from __future__ import annotations

import time
from collections.abc import Mapping

from rclpy.parameter import Parameter
from rclpy.parameter_client import AsyncParameterClient
from rclpy.task import Future

from trossen_pi0_bringup.arguments import ARM_CONTROLLER, POLICY
from trossen_pi0_bringup.episodes import EpisodeRunner
from trossen_pi0_bringup.knob_bench.figures import Snapshot
from trossen_pi0_bringup.knob_bench.rows import Value, node_of
from trossen_pi0_bringup.operator_node import OUTCOMES, Watch
from trossen_pi0_bringup.recording import EpisodeRecording
from trossen_pi0_bringup.supervisor import StackError
from trossen_pi0_msgs.action import RunPolicy

_RUN_S = 3600.0
_BEGIN_S = 30.0


class KnobOperator(EpisodeRunner):
    """Sets parameters of the running nodes and measures what they do."""

    def __init__(self, image_topics: dict[str, str]) -> None:
        """Joins the ROS graph."""
        super().__init__(image_topics)
        self._clients = {
            node: AsyncParameterClient(self.node, node) for node in (POLICY, ARM_CONTROLLER)
        }
        self._result: Future | None = None

    def set_parameters(self, values: Mapping[str, Value], watch: Watch) -> None:
        """Sets parameters, those of a node all together.

        Raises:
            StackError: a node refuses them, with its reason, or does not answer.
        """
        for node, client in self._clients.items():
            mine = [Parameter(n, value=v) for n, v in values.items() if node_of(n) == node]
            if not mine:
                continue
            sent = self.request(lambda c=client, m=mine: c.set_parameters_atomically(m), watch)
            answer = self.answer(sent, watch, f"setting of parameters of {node}")
            if not answer.result.successful:
                names = [parameter.name for parameter in mine]
                raise StackError(f"{node} refuses {names}: {answer.result.reason}")

    # The run ------------------------------------------------------------------------------------

    def ensure_run(self, watch: Watch) -> None:
        """Begins a run, unless one is under way, and waits for its first chunk.

        Raises:
            StackError: there is none.
        """
        if self._result is not None and not self._result.done():
            return
        goal = RunPolicy.Goal(max_duration_s=_RUN_S)
        self._goal, self._result = self.start_run(goal, watch, self._policy_reason)
        self.wait_for_chunks(1, _BEGIN_S, watch)

    def wait_for_chunks(self, count: int, timeout_s: float, watch: Watch) -> None:
        """Waits until so many more chunks have been published, or the run has ended.

        Raises:
            StackError: they do not come.
        """
        chunks = self.recording.chunks
        wanted = len(chunks) + count
        self.wait_for(
            lambda: len(chunks) >= wanted or bool(self.ended),
            timeout_s,
            watch,
            lambda: f"no {count} chunks came: {self._policy_reason()}",
        )

    @property
    def ended(self) -> str:
        """How the run has ended; empty while it is under way."""
        if self._result is None or not self._result.done():
            return ""
        answer = self._result.result()
        assert answer is not None
        outcome = OUTCOMES.get(answer.result.outcome, str(answer.result.outcome))
        return f"{outcome}: {answer.result.message}"

    # Measuring ----------------------------------------------------------------------------------

    def now(self) -> Snapshot:
        """The present counters. The statuses are known to have come."""
        seen = self.recording
        assert seen.policy is not None
        assert seen.controller is not None
        return Snapshot(self.now_ns(), seen.policy, seen.controller)

    def measure(self, seconds: float, watch: Watch) -> tuple[Snapshot, list[float]]:
        """Listens for a while, or until the run ends.

        Returns:
            Counters afterwards, and ages of the chunk in force [s].
        """
        ages_s: list[float] = []
        last = self.recording.controller
        end_s = time.monotonic() + seconds
        while time.monotonic() < end_s and not self.ended:
            watch()
            self.pause(0.05)
            status = self.recording.controller
            if status is not None and status is not last:
                last = status
                ages_s.append(status.chunk_age_s)
        return self.now(), ages_s

    def forget(self) -> None:
        """Drops what was recorded, so that it does not grow with the bench."""
        old = self._recording
        self._recording = EpisodeRecording(
            changed=self.changed,
            begun_ns=old.begun_ns,
            controller=old.controller,
            policy=old.policy,
            sim=old.sim,
        )
