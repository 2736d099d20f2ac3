"""Runs π0 in this process."""

from __future__ import annotations

import logging
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from typing_extensions import override

from trossen_pi0_core.errors import (
    BackendError,
    BackendUnavailableError,
    ParameterError,
    TrossenPi0Error,
)
from trossen_pi0_core.openpi import AlohaLayout
from trossen_pi0_core.transforms import TransformConfig
from trossen_pi0_policy.backends.base import (
    BackendContext,
    Inference,
    InferenceRequest,
    PolicyBackend,
    PrefixSupport,
    told_prefix_support,
)
from trossen_pi0_policy.backends.trial import trial_observation

if TYPE_CHECKING:
    from trossen_pi0_policy.pi0.policy import Pi0Policy
    from trossen_pi0_policy.pi0.sampler import Precision

_LOG = logging.getLogger(__name__)
_FIRST_PAUSE_S = 0.5
_LONGEST_PAUSE_S = 15.0


class Pi0Backend(PolicyBackend):
    """π0 from a checkpoint, on the thread that asks.

    ``prepare`` imports JAX, reads the checkpoint, compiles, and answers one trial observation,
    which finds out a model for other arms or cameras before a run. What requests with a prefix need
    is compiled too, since the execution may be changed during a run. After a failure it waits
    longer and longer before it tries again: what is missing may be put in its place meanwhile.
    """

    needs_ground_truth = False

    def __init__(self, context: BackendContext) -> None:
        """Raises:
        ParameterError: the arms have other joints than a model takes.
        """
        parameters = context.parameters
        joints, wanted = parameters.joint_map.size, TransformConfig.robot_dim
        if joints != wanted:
            raise ParameterError(
                f"backend 'pi0' is for {wanted} joints, the arms {list(parameters.arms)} "
                f"have {joints}"
            )
        self._parameters = parameters
        self._clock_ns = context.clock_ns
        self._layout = AlohaLayout(parameters.joint_map, image_size=None)
        self._policy: Pi0Policy | None = None
        self._failures = 0
        self._warned = False
        self._interrupted = threading.Event()

    @property
    @override
    def metadata(self) -> Mapping[str, Any]:
        return {} if self._policy is None else self._policy.metadata

    @override
    def prepare(self) -> None:
        if self._policy is not None:
            return
        if self._failures:
            pause_s = min(_FIRST_PAUSE_S * 2 ** (self._failures - 1), _LONGEST_PAUSE_S)
            self._interrupted.wait(pause_s)
        self._stop_if_interrupted()
        try:
            self._policy = self._tried_policy()
            self.prefix_support = told_prefix_support(self._policy.metadata)
        except Exception as error:
            self._failures = min(self._failures + 1, 32)
            if isinstance(error, TrossenPi0Error) and not isinstance(error, BackendError):
                raise BackendError(str(error)) from error
            raise
        self._failures = 0

    @override
    def begin_run(self, prompt: str, seed: int) -> None:
        if self._policy is not None:
            self._policy.seed(seed)

    @override
    def infer(self, request: InferenceRequest) -> Inference:
        policy = self._policy
        assert policy is not None, "prepare comes first"
        began_ns = self._clock_ns()
        seen = request.observation
        message = self._layout.request(seen)
        if request.prefix is not None and self.prefix_support is not PrefixSupport.NONE:
            message["rtc"] = self._layout.prefix(request.prefix, seen.joint_names)
        prepared = policy.prepare(message)
        prepared_ns = self._clock_ns()
        (answer,) = policy.infer([prepared])
        return Inference(
            self._layout.actions(answer),
            committed_rows=self._layout.committed_rows(answer),
            preparation_ns=prepared_ns - began_ns,
        )

    @override
    def interrupt(self) -> None:
        """Reading a checkpoint, compiling and inference each go on to their end."""
        self._interrupted.set()

    @override
    def close(self) -> None:
        self._policy = None

    def _tried_policy(self) -> Pi0Policy:
        """The policy, compiled, that has answered the trial observation."""
        self._set_compilation_cache()
        policy = self._load()
        self._check_cameras(tuple(policy.metadata["cameras"]))
        self._stop_if_interrupted()
        began_ns = self._clock_ns()
        policy.warm_up()
        trial = trial_observation(self._parameters)
        self._layout.actions(policy.infer_one(self._layout.request(trial)))
        _LOG.info("the model is ready after %.1f s", (self._clock_ns() - began_ns) / 1e9)
        return policy

    def _load(self) -> Pi0Policy:
        try:
            from trossen_pi0_policy.pi0.policy import load_policy
        except ImportError as error:
            raise BackendError(f"backend 'pi0' needs JAX and Flax: {error}") from error

        parameters = self._parameters
        return load_policy(
            parameters.checkpoint,
            parameters.model_config or None,
            dtype=cast("Precision", parameters.model_dtype),
            steps=parameters.flow_steps,
            tokenizer_file=parameters.tokenizer_file or None,
            asset_id=parameters.asset_id or None,
            reference_client_compat=parameters.reference_client_compat,
            max_guidance_weight=parameters.max_guidance_weight,
        )

    def _set_compilation_cache(self) -> None:
        """Without the folder everything works, but starts more slowly."""
        from trossen_pi0_policy.compilation import use_compilation_cache

        folder = self._parameters.compilation_cache
        try:
            use_compilation_cache(Path(folder) if folder else None)
        except ParameterError as error:
            if not self._failures:
                _LOG.warning("%s; compiled programs are not kept", error)
        except ImportError as error:
            raise BackendError(f"backend 'pi0' needs JAX and Flax: {error}") from error

    def _check_cameras(self, wanted: tuple[str, ...]) -> None:
        """Raises BackendError without the model's first camera; others may be missing."""
        given = self._parameters.cameras
        missing = [camera for camera in wanted if camera not in given]
        if wanted[0] in missing:
            raise BackendError(
                f"the model needs the camera {wanted[0]!r}, it takes {list(wanted)}; "
                f"cameras: the node has {list(given)}"
            )
        if missing and not self._warned:
            self._warned = True
            _LOG.warning(
                "the model also takes the cameras %s, which the node does not have", missing
            )

    def _stop_if_interrupted(self) -> None:
        if self._interrupted.is_set():
            raise BackendUnavailableError("the policy is being shut down")
