"""π0 as a policy: observations in openpi's layout in, joint targets out."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from typing_extensions import override

from trossen_pi0_core.errors import BackendError, ObservationError, ParameterError
from trossen_pi0_core.joints import JointMap
from trossen_pi0_core.transforms import (
    ByteTokenizer,
    ModelInputs,
    NormStats,
    PolicyTransform,
    SentencePieceTokenizer,
    Tokenizer,
    TransformConfig,
    load_norm_stats,
)
from trossen_pi0_policy.checkpoints import (
    CheckpointError,
    CheckpointInfo,
    CheckpointMismatchError,
    fetch,
    find_checkpoint,
    matching_configs,
    read_metadata,
    read_parameters,
)
from trossen_pi0_policy.checkpoints import tokenizer_file as find_tokenizer
from trossen_pi0_policy.pi0.config import (
    CAMERA_KEYS,
    EXTRA_CAMERA_KEYS,
    Pi0Config,
    config_from_dict,
    get_config,
    known_names,
)
from trossen_pi0_policy.pi0.guidance import MAX_GUIDANCE_WEIGHT
from trossen_pi0_policy.pi0.inputs import Prefix
from trossen_pi0_policy.pi0.joint_order import JOINTS, ReorderedTransform, kit_places
from trossen_pi0_policy.pi0.parameters import from_openpi, openpi_shapes, random_parameters
from trossen_pi0_policy.pi0.sampler import Precision, Rtc, Sampler
from trossen_pi0_policy.serving.policy import ServedPolicy

RtcChoice = Literal["auto", "guided", "conditioned", "none"]
"""What prefixes of requests do: see ``Rtc``; auto is conditioned for checkpoints that say they
were trained so (``prefix_conditioned``), else guided."""

_LOG = logging.getLogger(__name__)
_CAMERA_OF_KEY: dict[str, str] = dict(
    zip(
        CAMERA_KEYS + EXTRA_CAMERA_KEYS,
        ("cam_high", "cam_left_wrist", "cam_right_wrist", "cam_low"),
        strict=True,
    )
)


@dataclass(frozen=True, eq=False)
class Prepared:
    """An observation that is ready for the model.

    Attributes:
        inputs: of the model.
        request: where they come from.
        prefix: what the answer shall agree with.
    """

    inputs: ModelInputs
    request: Mapping[str, Any]
    prefix: Prefix | None = None


class Pi0Policy(ServedPolicy):
    """π0 or π0.5 with everything around it. ``infer`` from one thread, the rest from any."""

    def __init__(
        self,
        sampler: Sampler,
        transform: PolicyTransform,
        *,
        metadata: Mapping[str, Any] | None = None,
        seed: int = 0,
    ) -> None:
        """Args:
        sampler: with the parameters.
        transform: of observations and actions.
        metadata: what clients are told, besides what the sampler makes of prefixes.
        seed: of the noise.
        """
        self._sampler = sampler
        self._transform = transform
        self._metadata = {k: v for k, v in (metadata or {}).items() if k != "rtc"}
        if sampler.rtc != "none":
            self._metadata["rtc"] = sampler.rtc
        self._rng = np.random.default_rng(seed)

    @property
    @override
    def metadata(self) -> Mapping[str, Any]:
        return self._metadata

    @property
    @override
    def max_batch(self) -> int:
        return self._sampler.max_batch

    @property
    def config(self) -> Pi0Config:
        """Of the model."""
        return self._sampler.config

    def seed(self, seed: int) -> None:
        """Begins the noise anew."""
        self._rng = np.random.default_rng(seed)

    def warm_up(self) -> None:
        """Compiles what every observation needs, which takes from seconds to minutes."""
        self._sampler.warm_up()

    @override
    def prepare(self, request: Mapping[str, Any]) -> Prepared:
        return Prepared(self._transform.inputs(request), request, self._prefix(request))

    @override
    def infer(self, prepared: Sequence[Prepared]) -> list[dict[str, Any]]:
        config = self.config
        shape = (len(prepared), config.action_horizon, config.action_dim)
        return self._infer(prepared, self._rng.standard_normal(shape, np.float32))

    def infer_one(
        self, request: Mapping[str, Any], *, noise: NDArray[np.float32] | None = None
    ) -> dict[str, Any]:
        """Answers one observation.

        Args:
            request: ``state`` [rad; m for carriages], ``images`` by camera, ``prompt``; perhaps
                ``rtc`` (see ``request_prefix``), whose rows beyond the horizon are cut.
            noise: start of the flow, shape (horizon, action_dim); None: drawn.

        Returns:
            As ``infer``.

        Raises:
            ObservationError: the observation is malformed.
            BackendError: noise of another shape, or actions that are not finite.
        """
        prepared = [self.prepare(request)]
        if noise is None:
            return self.infer(prepared)[0]
        shape = (self.config.action_horizon, self.config.action_dim)
        if noise.shape != shape:
            raise ObservationError(f"noise must have shape {shape}, got {noise.shape}")
        return self._infer(prepared, noise[None].astype(np.float32))[0]

    def _infer(
        self, prepared: Sequence[Prepared], noise: NDArray[np.float32]
    ) -> list[dict[str, Any]]:
        begun_s = time.perf_counter()
        chunks = self._sample(prepared, noise)
        if not np.isfinite(chunks).all():
            raise BackendError("the model's actions are not finite: are its parameters damaged?")
        timing = {"infer_ms": (time.perf_counter() - begun_s) * 1e3}
        return [
            {
                "actions": self._transform.outputs(chunk, each.request),
                "policy_timing": dict(timing),
                **({} if each.prefix is None else {"committed_rows": each.prefix.frozen}),
            }
            for each, chunk in zip(prepared, chunks, strict=True)
        ]

    def _sample(
        self, prepared: Sequence[Prepared], noise: NDArray[np.float32]
    ) -> NDArray[np.float32]:
        """Those with a prefix and those without go by programs of their own."""
        prefixes = [each.prefix for each in prepared]
        bound = [i for i, prefix in enumerate(prefixes) if prefix is not None]
        free = [i for i, prefix in enumerate(prefixes) if prefix is None]
        inputs = [each.inputs for each in prepared]
        if not bound:
            return self._sampler(inputs, noise)
        chunks = np.empty_like(noise)
        chunks[bound] = self._sampler(
            [inputs[i] for i in bound], noise[bound], [p for p in prefixes if p is not None]
        )
        if free:
            chunks[free] = self._sampler([inputs[i] for i in free], noise[free])
        return chunks

    def _prefix(self, request: Mapping[str, Any]) -> Prefix | None:
        """Raises ObservationError: malformed, or for a policy that makes nothing of it."""
        given = self._transform.prefix(request)
        if given is None:
            return None
        if self._sampler.rtc == "none":
            raise ObservationError("'rtc': this policy takes no prefix, as its metadata says")
        (rows, frozen), horizon = given, self.config.action_horizon
        if frozen > horizon:
            raise ObservationError(
                f"'frozen' in 'rtc' must be at most {horizon}, the rows of a chunk, got {frozen}"
            )
        return Prefix(rows[:horizon], frozen, self._transform.config.robot_dim)


def load_policy(
    checkpoint: str | Path,
    config_name: str | None = None,
    *,
    dtype: Precision = "auto",
    steps: int = 10,
    tokenizer_file: str | Path | None = None,
    default_prompt: str | None = None,
    asset_id: str | None = None,
    delta_mask: tuple[bool, ...] | None = None,
    reference_client_compat: bool = False,
    max_batch: int = 1,
    rtc: RtcChoice = "auto",
    max_guidance_weight: float = MAX_GUIDANCE_WEIGHT,
) -> Pi0Policy:
    """A policy from a checkpoint of openpi or of the suite.

    Args:
        checkpoint: step folder, folder of steps, or what else ``fetch`` takes.
        config_name: as ``get_config`` takes it; None: what the checkpoint says, or what its
            parameters fit.
        dtype: of weights and activations.
        steps: Euler steps of the sampler.
        tokenizer_file: PaliGemma's SentencePiece model; None: from the cache or a download.
        default_prompt: for observations without one; None: what the checkpoint says.
        asset_id: of the norm stats, where the checkpoint has several.
        delta_mask: joints whose actions are relative to the state; None: what the checkpoint
            says, or none.
        reference_client_compat: see ``TransformConfig``.
        max_batch: most observations in one call.
        rtc: what prefixes of requests do.
        max_guidance_weight: bound on the weight of the guidance, above 0.

    Raises:
        TrossenPi0Error: what is wrong with the checkpoint, or not to be had.
    """
    found = find_checkpoint(fetch(checkpoint))
    info = read_metadata(found.path)
    said = info.metadata
    config, name = checkpoint_config(info, config_name)
    mode = _rtc_of(info, rtc)
    told = dict(said.get("policy_metadata", {}))
    places = kit_places(found.path, told)
    stats = load_norm_stats(found.norm_stats_folder(asset_id))
    tokenizer = _tokenizer(config, tokenizer_file)
    transform = transform_config(
        config,
        delta_mask=delta_mask or tuple(said.get("delta_mask") or ()) or None,
        default_prompt=default_prompt or said.get("prompt"),
        reference_client_compat=reference_client_compat,
    )
    _LOG.info("checkpoint %s: config %s, %.2f GB", found.path, name, info.size_bytes / 1e9)
    tree = from_openpi(read_parameters(found.path, openpi_shapes(config)), config)
    sampler = Sampler(
        tree,
        config,
        steps=steps,
        dtype=dtype,
        max_batch=max_batch,
        rtc=mode,
        max_guidance_weight=max_guidance_weight,
    )
    if places is None:
        served = PolicyTransform(transform, stats, tokenizer)
    else:
        _LOG.info("checkpoint %s has its joints in another order: %s", found.path, told[JOINTS])
        served = ReorderedTransform(transform, stats, tokenizer, places)
        told[JOINTS] = list(JointMap().dataset_names)  # what clients see is in the kit's order
    return Pi0Policy(sampler, served, metadata={**told, **_told(config, name)})


def random_policy(
    config: Pi0Config,
    *,
    dtype: Precision = "auto",
    steps: int = 10,
    seed: int = 0,
    max_batch: int = 1,
    rtc: Rtc = "none",
) -> Pi0Policy:
    """A policy with random weights, for measuring; prompts are cut into bytes."""
    tree = random_parameters(config, seed, "bfloat16" if dtype == "auto" else dtype)
    sampler = Sampler(tree, config, steps=steps, dtype=dtype, max_batch=max_batch, rtc=rtc)
    spread = np.ones(config.action_dim)
    stats = NormStats(mean=0 * spread, std=spread, q01=-spread, q99=spread)
    transform = PolicyTransform(
        transform_config(config), {"state": stats, "actions": stats}, ByteTokenizer()
    )
    return Pi0Policy(sampler, transform, metadata=_told(config, "random"), seed=seed)


def transform_config(config: Pi0Config, **choices: Any) -> TransformConfig:
    """How a model wants its inputs; ``choices`` are further fields."""
    return TransformConfig(
        cameras=tuple((_CAMERA_OF_KEY.get(key, key), key) for key in config.cameras),
        image_size=config.image_size,
        model_dim=config.action_dim,
        max_token_len=config.max_token_len,
        quantiles=config.pi05,
        discrete_state=config.pi05,
        **choices,
    )


def _told(config: Pi0Config, name: str) -> dict[str, Any]:
    """What clients can know about the model."""
    return {
        "config": name,
        "action_horizon": config.action_horizon,
        "cameras": [_CAMERA_OF_KEY.get(key, key) for key in config.cameras],
        "image_size": config.image_size,
    }


def _rtc_of(info: CheckpointInfo, rtc: RtcChoice) -> Rtc:
    """What prefixes do with a checkpoint.

    Raises:
        CheckpointError: it does not say properly how it was trained.
    """
    conditioned = info.metadata.get("prefix_conditioned", False)
    if not isinstance(conditioned, bool):
        raise CheckpointError(
            f"checkpoint {info.folder.path}: prefix_conditioned must be true or false, "
            f"got {conditioned!r}"
        )
    if rtc == "auto":
        return "conditioned" if conditioned else "guided"
    if rtc == "conditioned" and not conditioned:
        _LOG.warning(
            "checkpoint %s does not say that it was trained with clean prefixes: conditioned "
            "chunks may not go on smoothly behind them",
            info.folder.path,
        )
    return rtc


def checkpoint_config(info: CheckpointInfo, name: str | None) -> tuple[Pi0Config, str]:
    """The config asked for, else the one the checkpoint names, else one its parameters fit.

    Raises:
        ParameterError: no such config.
        CheckpointError: the checkpoint names none properly.
        CheckpointMismatchError: the parameters fit none.
    """
    said = info.metadata.get("config")
    if name is None and isinstance(said, dict):
        return config_from_dict(said), str(info.metadata.get("config_name", "own"))
    if name is None and said is not None and not isinstance(said, str):
        raise CheckpointError(
            f"checkpoint {info.folder.path} must name or describe its config, got {said!r}"
        )
    name = name or said
    if name is None:
        table = {each: openpi_shapes(get_config(each)) for each in known_names()}
        fitting = matching_configs(info.shapes, table)
        if not fitting:
            raise CheckpointMismatchError(
                f"the parameters of checkpoint {info.folder.path} fit none of the configs "
                f"{list(table)}: name the one it was trained with, to see how they differ"
            )
        name = fitting[0]
    return get_config(name), name


def _tokenizer(config: Pi0Config, file: str | Path | None) -> Tokenizer:
    if config.tokenizer == "bytes":
        if file is not None:
            _LOG.warning("tokeniser %s is not used: this model's prompts are bytes", file)
        return ByteTokenizer()
    tokenizer = SentencePieceTokenizer(find_tokenizer(file))
    if tokenizer.vocab_size > config.vocab_size:
        raise ParameterError(
            f"the tokeniser has {tokenizer.vocab_size} tokens, the model knows "
            f"{config.vocab_size}: it belongs to another model"
        )
    return tokenizer
