"""Asks an openpi-compatible policy server."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from typing_extensions import override

from trossen_pi0_core.openpi import AlohaLayout, OpenpiClient, ServerConfig
from trossen_pi0_policy.backends.base import (
    BackendContext,
    Inference,
    InferenceRequest,
    PolicyBackend,
    PrefixSupport,
    told_prefix_support,
)
from trossen_pi0_policy.backends.trial import trial_observation


class OpenpiBackend(PolicyBackend):
    """A policy behind a websocket.

    After each connection one trial observation is sent, whose answer is checked and dropped: the
    server compiles its model for it, and a server for another robot is found out before a run.
    Prefixes are sent to servers whose metadata has ``rtc`` as the suite's own say it.
    """

    needs_ground_truth = False

    def __init__(self, context: BackendContext) -> None:
        """Raises:
        BackendError: the host makes no URL.
        """
        parameters = context.parameters
        self._parameters = parameters
        self._clock_ns = context.clock_ns
        self._layout = AlohaLayout(parameters.joint_map, parameters.image_size or None)
        self._client = OpenpiClient(
            ServerConfig(
                host=parameters.policy_host,
                port=parameters.policy_port,
                api_key=parameters.policy_api_key,
                connect_timeout_s=parameters.connect_timeout_s,
                answer_timeout_s=parameters.inference_timeout_s,
            )
        )

    @property
    @override
    def metadata(self) -> Mapping[str, Any]:
        return self._client.metadata

    @override
    def prepare(self) -> None:
        if self._client.connected:
            return
        self._client.connect()
        if self._parameters.warmup_timeout_s:
            request = self._layout.request(trial_observation(self._parameters))
            answer = self._client.infer(request, timeout_s=self._parameters.warmup_timeout_s)
            self._layout.actions(answer)
        self.prefix_support = told_prefix_support(self._client.metadata)

    @override
    def begin_run(self, prompt: str, seed: int) -> None:
        """The server keeps nothing between observations."""

    @override
    def infer(self, request: InferenceRequest) -> Inference:
        began_ns = self._clock_ns()
        seen, prefix = request.observation, request.prefix
        message = self._layout.request(seen)
        rtc = None if prefix is None else self._layout.prefix(prefix, seen.joint_names)
        prepared_ns = self._clock_ns()

        def for_server(metadata: Mapping[str, Any]) -> dict[str, Any]:
            """Servers that do not know prefixes never see one, after a new connection neither."""
            self.prefix_support = told_prefix_support(metadata)
            is_known = rtc is not None and self.prefix_support is not PrefixSupport.NONE
            return {**message, "rtc": rtc} if is_known else message

        answer = self._client.infer(for_server)
        return Inference(
            self._layout.actions(answer),
            committed_rows=self._layout.committed_rows(answer),
            preparation_ns=prepared_ns - began_ns,
        )

    @override
    def interrupt(self) -> None:
        self._client.interrupt()

    @override
    def close(self) -> None:
        self._client.close()
