"""How the policy and its inputs are, for /diagnostics."""

from __future__ import annotations

import math

from trossen_pi0_core.diagnostics import Aspect, Level, RecentCounts, StreamWatch
from trossen_pi0_core.parameters import PolicyParameters
from trossen_pi0_core.parameters.bounds import bounds_of
from trossen_pi0_policy.observations import JOINT_STREAM, ObservationBuffer
from trossen_pi0_policy.state import PREPARING, PolicyState, RunnerStatus

_LEVELS = {PolicyState.STALLED: Level.WARN, PolicyState.ERROR: Level.ERROR}
_FAILURES, _LATE = "inference failures", "late answers"


class PolicyDiagnosis:
    """What is to be said about the policy node. Not thread-safe."""

    def __init__(self) -> None:
        self._recent = RecentCounts()

    def look(
        self,
        status: RunnerStatus,
        observations: ObservationBuffer,
        params: PolicyParameters,
        *,
        active: bool,
        now_s: float,
        now_ns: int,
    ) -> list[Aspect]:
        """The entries of the present.

        Args:
            status: of the runner.
            observations: knows what has come in.
            params: the node's parameters, with the bounds.
            active: whether the node listens to its inputs.
            now_s: present time on a clock that never jumps [s].
            now_ns: present ROS time [ns].
        """
        aspects = [self._state(status, active=active)]
        if not active:
            return aspects
        aspects += [_backend(status, params), self._inference(status, params, now_s)]
        for stream, watch in observations.watches.items():
            aspect = _input(stream, watch, params, now_s=now_s, now_ns=now_ns)
            refusal = observations.refusal(stream)
            if refusal:
                aspect.say(Level.ERROR, f"refused: {refusal}")
            aspects.append(aspect)
        return aspects

    def _state(self, status: RunnerStatus, *, active: bool) -> Aspect:
        aspect = Aspect("state")
        if not active:
            aspect.say(Level.WARN, "the policy node is not active")
            return aspect
        level = _LEVELS.get(status.state, Level.OK)
        aspect.say_state(level, status.state.name, status.reason)
        for advice in status.advice:
            aspect.say(Level.WARN, advice)
        aspect.figures(
            {
                "run": status.run_id or "none",
                "prompt": status.prompt,
                "execution": status.execution.name.lower(),
                "chunks published": status.chunks_published,
                "pauses": status.pauses,
                "missing": "; ".join(status.missing) or "nothing",
            }
        )
        return aspect

    def _inference(self, status: RunnerStatus, params: PolicyParameters, now_s: float) -> Aspect:
        aspect = Aspect("inference", fine="none yet")
        totals = {_FAILURES: status.inference_failures, _LATE: status.late_answers}
        recent = self._recent.risen(totals, now_s)
        if not math.isnan(status.latency_p50_s):
            aspect.say(Level.OK, f"{status.latency_p50_s:.3f} s (median)")
        aspect.figures({"inference p50 [s]": status.latency_p50_s})
        aspect.high("inference p95 [s]", status.latency_p95_s, bounds_of(params, "inference_s"))
        aspect.figures(
            {
                "overhead [s]": status.latency.overhead_s,
                "picture to chunk [s]": status.latency.chunk_s,
                "expected delay [s]": status.expected_delay_s,
            }
        )
        for label, total in totals.items():
            aspect.figures({label: total})
            aspect.high(f"{label} [1/min]", recent[label], bounds_of(params, "policy_events"))
        return aspect


def _backend(status: RunnerStatus, params: PolicyParameters) -> Aspect:
    """Whether the policy can be asked: its server, its checkpoint."""
    where = {
        "openpi": f"{params.policy_host}:{params.policy_port}",
        "pi0": params.checkpoint,
        "replay": params.replay_file,
    }.get(params.backend, "")
    aspect = Aspect("backend", where or params.backend, fine="ready")
    aspect.figures({"backend": params.backend, "where": where or "in this process"})
    problem = status.backend_problem
    if problem:
        aspect.say(Level.WARN if problem == PREPARING else Level.ERROR, problem)
    return aspect


def _input(
    stream: str, watch: StreamWatch, params: PolicyParameters, *, now_s: float, now_ns: int
) -> Aspect:
    kind, topic = "picture", params.image_topics.get(stream, "")
    if stream == JOINT_STREAM:
        kind, topic = "joint", "/joint_states"
    aspect = Aspect(stream, topic, fine=f"comes on {topic}")
    rate, age = bounds_of(params, f"{kind}_rate"), bounds_of(params, f"{kind}_age_s")
    watch.grade(aspect, rate, age, now_s=now_s, now_ns=now_ns)
    return aspect
