"""The policy that is judged, as episodes in virtual time ask it."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from typing_extensions import override

from trossen_pi0_core.errors import BackendUnavailableError, TrossenPi0Error
from trossen_pi0_core.parameters import PolicyParameters
from trossen_pi0_policy.backends import (
    BackendContext,
    Inference,
    InferenceRequest,
    PolicyBackend,
    make_backend,
)
from trossen_pi0_policy.backends.base import (
    GroundTruth,
    LatestGroundTruth,
    PrefixSupport,
    asked_again,
)
from trossen_pi0_policy.cli.choice import PolicyChoice
from trossen_pi0_sim.world import Snapshot, World


class PolicyLostError(TrossenPi0Error):
    """The policy answers no more, so that nothing can be said of it."""


@dataclass(frozen=True)
class Judged(PolicyChoice):
    """Which policy, and how it is asked; one of checkpoint, server and expert.

    Attributes:
        expert: the scripted one, which knows where the object is: what can be reached.
        prompt: for all scenarios; empty: what an operator would say of each.
    """

    expert: bool = False
    prompt: str = ""

    @property
    def name(self) -> str:
        """For a person."""
        return self.checkpoint or self.server or "the scripted expert, which knows the object"

    @override
    def parameters(self, usual: PolicyParameters) -> PolicyParameters:
        if self.expert:
            return dataclasses.replace(usual, backend="expert")
        return super().parameters(usual)


class SeeingPolicy:
    """A backend that is given pictures of the world as it was at the observation's stamp.

    Pictures are rendered only for observations that are asked about.

    Attributes:
        first: the first answer of the episode, and the moment that it is of.
    """

    first: tuple[Inference, Snapshot] | None

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
        self.first = None
        parameters = judged.parameters(PolicyParameters(cameras=cameras))
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
        self.first = None
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
        question = dataclasses.replace(request, observation=seen)
        try:
            answer = asked_again(self._backend, lambda: self._backend.infer(question))
        except BackendUnavailableError as error:
            raise PolicyLostError(f"the policy answers no more: {error}") from error
        self.first = self.first or (answer, sight)
        return answer

    def pictures(self, sight: Snapshot) -> dict[str, NDArray[np.uint8]]:
        """What the cameras saw at a moment, uint8 RGB of shape (height, width, 3) each."""
        return {c: self._world.render(c, *self._size, qpos=sight.qpos) for c in self._cameras}

    def close(self) -> None:
        """Releases the policy."""
        self._backend.close()
