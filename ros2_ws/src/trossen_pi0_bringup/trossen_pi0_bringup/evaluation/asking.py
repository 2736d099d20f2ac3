"""The policy that is judged, as episodes in virtual time ask it."""

from __future__ import annotations

import dataclasses
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trossen_pi0_core.errors import BackendUnavailableError, TrossenPi0Error
from trossen_pi0_core.images import POLICY_IMAGE_SIZE
from trossen_pi0_core.parameters import PolicyParameters
from trossen_pi0_policy.backends import (
    BackendContext,
    Inference,
    InferenceRequest,
    PolicyBackend,
    make_backend,
)
from trossen_pi0_policy.backends.base import GroundTruth, LatestGroundTruth, PrefixSupport
from trossen_pi0_policy.serving.access import read_api_key
from trossen_pi0_sim.world import Snapshot, World

_ATTEMPTS = 3


class PolicyLostError(TrossenPi0Error):
    """The policy answers no more, so that nothing can be said of it."""


@dataclass(frozen=True)
class Judged:
    """Which policy, and how it is asked; one of checkpoint, server and expert.

    Attributes:
        checkpoint: folder or URL.
        server: ``ws://host:port`` of an openpi-compatible server.
        expert: the scripted one, which knows where the object is: what can be reached.
        config: model preset; empty: the one the checkpoint names.
        dtype: type of the computation.
        steps: flow steps.
        tokenizer: PaliGemma's SentencePiece model; None: from the cache or a download.
        asset_id: of the norm stats; empty: the only ones.
        reference_client_compat: pictures as the vendor's client spoils them.
        compilation_cache: folder for compiled programs; None: none.
        api_key_file: holds the server's key; None: the environment may have it.
        image_size: edge of the pictures that a server is sent [pixels]; 0: as they come.
        timeout_s: longest wait for an answer of a server [s].
        prompt: for all scenarios; empty: what an operator would say of each.
    """

    checkpoint: str = ""
    server: str = ""
    expert: bool = False
    config: str = ""
    dtype: str = "auto"
    steps: int = PolicyParameters().flow_steps
    tokenizer: Path | None = None
    asset_id: str = ""
    reference_client_compat: bool = False
    compilation_cache: Path | None = None
    api_key_file: Path | None = None
    image_size: int = POLICY_IMAGE_SIZE[0]
    timeout_s: float = 60.0
    prompt: str = ""

    @property
    def name(self) -> str:
        """For a person."""
        return self.checkpoint or self.server or "the scripted expert, which knows the object"

    def parameters(self, cameras: tuple[str, ...], prompt: str) -> PolicyParameters:
        """Parameters of the node that would run it."""
        common = PolicyParameters(cameras=cameras, prompt=self.prompt or prompt)
        own: dict[str, Any] = {"backend": "expert"}
        if self.server:
            own = {
                "backend": "openpi",
                "policy_host": self.server,
                "policy_api_key": read_api_key(self.api_key_file, os.environ),
                "image_size": self.image_size,
                "inference_timeout_s": self.timeout_s,
                "warmup_timeout_s": max(common.warmup_timeout_s, self.timeout_s),
            }
        elif self.checkpoint:
            own = {
                "backend": "pi0",
                "checkpoint": self.checkpoint,
                "model_config": self.config,
                "model_dtype": self.dtype,
                "flow_steps": self.steps,
                "tokenizer_file": str(self.tokenizer or ""),
                "asset_id": self.asset_id,
                "reference_client_compat": self.reference_client_compat,
                "compilation_cache": str(self.compilation_cache or ""),
            }
        return dataclasses.replace(common, **own)


class SeeingPolicy:
    """A backend that is given pictures of the world as it was at the observation's stamp.

    Pictures are rendered only for observations that are asked about.
    """

    def __init__(
        self, judged: Judged, world: World, cameras: tuple[str, ...], size: tuple[int, int]
    ) -> None:
        """Makes the policy ready.

        Args:
            judged: which.
            world: is rendered.
            cameras: that the policy sees.
            size: width and height of the pictures [pixels].

        Raises:
            BackendError: there is none, it cannot be reached, or does not fit arms or cameras.
            ParameterError: options that a policy does not have.
        """
        self._world, self._cameras, self._size = world, cameras, size
        self._truth = LatestGroundTruth()
        self._prompt = ""
        self._fixed_prompt = judged.prompt
        parameters = judged.parameters(cameras, "grab and handover the red cube")
        context = BackendContext(parameters, self._truth)
        self._backend: PolicyBackend = make_backend(parameters.backend, context)
        self._sees = not self._backend.needs_ground_truth
        try:
            self._backend.prepare()
        except BaseException:
            self._backend.close()
            raise

    @property
    def prefix_support(self) -> PrefixSupport:
        """What it makes of a question's prefix."""
        return self._backend.prefix_support

    def begin(self, prompt: str, seed: int) -> None:
        """Begins an episode.

        Args:
            prompt: what is asked of it, unless one was given for all scenarios.
            seed: of its noise.
        """
        self._prompt = self._fixed_prompt or prompt
        self._backend.begin_run(self._prompt, seed)

    def infer(self, request: InferenceRequest, sight: Snapshot) -> Inference:
        """Plans from one observation and the pictures of its moment.

        Raises:
            BackendError: an answer that makes no sense.
            PolicyLostError: it answers no more.
        """
        asked = request.observation
        stamp_ns, half_size = asked.stamp_ns, np.array(self._world.variant.half_size)
        self._truth.set(GroundTruth(stamp_ns, sight.object_pose, half_size))
        images = self.pictures(sight) if self._sees else {}
        seen = dataclasses.replace(
            asked,
            images=images,
            image_stamps_ns=dict.fromkeys(images, stamp_ns),
            prompt=self._prompt,
        )
        for attempt in range(1, _ATTEMPTS + 1):
            try:
                self._backend.prepare()
                return self._backend.infer(dataclasses.replace(request, observation=seen))
            except BackendUnavailableError as error:
                if attempt == _ATTEMPTS:
                    raise PolicyLostError(f"the policy answers no more: {error}") from error
        raise AssertionError("each attempt returns, raises or is followed by another")

    def pictures(self, sight: Snapshot) -> dict[str, NDArray[np.uint8]]:
        """What the cameras saw at a moment, uint8 RGB of shape (height, width, 3) each."""
        return {c: self._world.render(c, *self._size, qpos=sight.qpos) for c in self._cameras}

    def close(self) -> None:
        """Releases the policy."""
        self._backend.close()
