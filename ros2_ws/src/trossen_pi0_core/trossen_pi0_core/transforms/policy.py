"""From a request to the model's inputs and from its answer to joint targets, as openpi does it.

In: default prompt, camera map, normalise, fit the pictures, tokenise, pad the state.
Out: unnormalise, absolute from delta, cut the padding.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trossen_pi0_core.errors import (
    BackendError,
    NormStatsError,
    ObservationError,
    ParameterError,
)
from trossen_pi0_core.images import resize_with_pad
from trossen_pi0_core.transforms.actions import pad_last, to_absolute, to_delta
from trossen_pi0_core.transforms.norm_stats import (
    ACTIONS,
    STATE,
    NormStats,
    normalise,
    unnormalise,
)
from trossen_pi0_core.transforms.request import (
    request_pictures,
    request_prefix,
    request_prompt,
    request_state,
)
from trossen_pi0_core.transforms.tokenizer import Tokenizer, log_truncated, tokenize_prompt

OPENPI_CAMERAS = (
    ("cam_high", "base_0_rgb"),
    ("cam_left_wrist", "left_wrist_0_rgb"),
    ("cam_right_wrist", "right_wrist_0_rgb"),
)
"""Camera of the kit and key of openpi's models, in the order that the models take them."""

_REMEMBERED_PROMPTS = 256


@dataclass(frozen=True)
class TransformConfig:
    """How a checkpoint wants its inputs.

    Attributes:
        cameras: pairs of camera in the request and image key of the model, in the model's order.
            The first is required; a missing other one is black and masked.
        image_size: edge of the model's square pictures [pixels].
        robot_dim: joints on the wire.
        model_dim: width of states and actions in the model, padded with zeros.
        max_token_len: length of the tokens.
        quantiles: normalise by quantiles (pi0.5), else z-scores (pi0).
        discrete_state: the state is part of the prompt (pi0.5).
        delta_mask: joints whose actions the model gives relative to the state; None: none.
        default_prompt: for requests without one.
        reference_client_compat: the request holds the cameras' pictures, and the checkpoint wants
            them as the vendor's client would have sent them: squashed, red and blue exchanged.
            Not for requests of the vendor's client itself, which has done both already.
    """

    cameras: tuple[tuple[str, str], ...] = OPENPI_CAMERAS
    image_size: int = 224
    robot_dim: int = 14
    model_dim: int = 32
    max_token_len: int = 48
    quantiles: bool = False
    discrete_state: bool = False
    delta_mask: tuple[bool, ...] | None = None
    default_prompt: str | None = None
    reference_client_compat: bool = False

    def __post_init__(self) -> None:
        for names in zip(*self.cameras, strict=True):
            if len(set(names)) != len(names) or "" in names:
                raise ParameterError(f"cameras must be named once each, got {list(names)}")
        if not self.cameras:
            raise ParameterError("a model needs at least one camera, got none")
        for name in ("image_size", "robot_dim", "max_token_len"):
            if getattr(self, name) < 1:
                raise ParameterError(f"{name} must be 1 or more, got {getattr(self, name)}")
        if self.model_dim < self.robot_dim:
            raise ParameterError(
                f"model_dim must be robot_dim = {self.robot_dim} or more, got {self.model_dim}"
            )
        if self.delta_mask is not None and len(self.delta_mask) > self.robot_dim:
            raise ParameterError(
                f"delta_mask must have at most robot_dim = {self.robot_dim} entries, "
                f"got {len(self.delta_mask)}"
            )


@dataclass(frozen=True, eq=False)
class ModelInputs:
    """One observation as a model takes it.

    Attributes:
        images: uint8 RGB, shape (cameras, image_size, image_size, 3), in the config's order.
        image_mask: bool, shape (cameras,); False where the camera was missing.
        state: normalised and padded, float32, shape (model_dim,).
        tokens: int32, shape (max_token_len,).
        token_mask: bool, shape (max_token_len,).
    """

    images: NDArray[np.uint8]
    image_mask: NDArray[np.bool_]
    state: NDArray[np.float32]
    tokens: NDArray[np.int32]
    token_mask: NDArray[np.bool_]


class PolicyTransform:
    """Translates between openpi's ALOHA messages and a model. Any thread."""

    def __init__(
        self, config: TransformConfig, stats: Mapping[str, NormStats], tokenizer: Tokenizer
    ) -> None:
        """Args:
            config: what the checkpoint wants.
            stats: of ``state`` and ``actions``, at least ``robot_dim`` wide; more is cut.
            tokenizer: of the model.

        Raises:
            NormStatsError: statistics missing, too short, or without the quantiles needed.
        """
        self.config = config
        self._state_stats = _usable(stats, STATE, config)
        self._action_stats = _usable(stats, ACTIONS, config)
        self._tokenizer = tokenizer
        self._fit = resize_with_pad
        if config.reference_client_compat:
            from trossen_pi0_core.transforms.reference_client import squash_and_swap

            self._fit = squash_and_swap
        self._truncated: dict[int, None] = {}
        self._truncated_lock = threading.Lock()

    def inputs(self, request: Mapping[str, Any]) -> ModelInputs:
        """The model's inputs.

        Args:
            request: ``state`` shape (robot_dim,) [rad; m for carriages], ``images`` camera ->
                uint8 (3, h, w), ``prompt``. Not changed; the result shares no memory with it.

        Raises:
            ObservationError: a part is missing or malformed.
            ImageError: a picture is malformed.
        """
        config = self.config
        prompt = request_prompt(request, config.default_prompt)
        state = self.normalised_state(request_state(request, config.robot_dim))
        cameras = tuple(camera for camera, _ in config.cameras)
        pictures = request_pictures(request, cameras)
        size = config.image_size
        # planes in memory, as on the wire, so that nothing is shuffled on the way to the model
        images = np.zeros((len(cameras), 3, size, size), dtype=np.uint8).transpose(0, 2, 3, 1)
        for i, camera in enumerate(cameras):
            if camera in pictures:
                images[i] = self._fit(pictures[camera], size, size)
        tokens, token_mask = self.tokens(prompt, state)
        return ModelInputs(
            images=images,
            image_mask=np.array([camera in pictures for camera in cameras]),
            state=pad_last(state.astype(np.float32), config.model_dim),
            tokens=tokens,
            token_mask=token_mask,
        )

    def normalised_state(self, state: NDArray[Any]) -> NDArray[np.float64]:
        """The state as prompts are given it; models get it padded and as float32.

        Args:
            state: shape (..., robot_dim) [rad; m for carriages].

        Returns:
            float64, the same shape.
        """
        return self._normalise(state, self._state_stats)

    def tokens(
        self, prompt: str, state: NDArray[np.float64]
    ) -> tuple[NDArray[np.int32], NDArray[np.bool_]]:
        """Token numbers of a prompt and where they are, shape (max_token_len,) each.

        Args:
            prompt: instruction in plain language.
            state: normalised, shape (robot_dim,); only ``discrete_state`` needs it.
        """
        return tokenize_prompt(
            self._tokenizer,
            prompt,
            self.config.max_token_len,
            state if self.config.discrete_state else None,
            on_truncated=self._warn_once,
        )

    def outputs(self, actions: NDArray[Any], request: Mapping[str, Any]) -> NDArray[np.float32]:
        """Joint targets from the model's actions.

        Args:
            actions: normalised, shape (horizon, model_dim). Values are not checked.
            request: that the actions answer; its state is what deltas are relative to.

        Returns:
            float32, shape (horizon, robot_dim), absolute [rad; m for carriages].

        Raises:
            BackendError: actions of another shape.
            ObservationError: the request's state is malformed.
        """
        config = self.config
        if actions.ndim != 2 or actions.shape[1] != config.model_dim:
            raise BackendError(
                f"a model's actions must have shape (horizon, {config.model_dim}), "
                f"got {actions.shape}"
            )
        targets = unnormalise(
            actions[:, : config.robot_dim], self._action_stats, quantiles=config.quantiles
        )
        if config.delta_mask is not None:
            # The state as the model saw it: normalised to float32 and back, as openpi has it.
            state = request_state(request, config.robot_dim)
            seen = self.normalised_state(state).astype(np.float32)
            state = unnormalise(seen, self._state_stats, quantiles=config.quantiles)
            targets = to_absolute(targets, state, config.delta_mask)
        return targets.astype(np.float32)

    def training_actions(self, actions: NDArray[Any], state: NDArray[Any]) -> NDArray[np.float32]:
        """What the model is to answer: undoes :meth:`outputs`.

        Args:
            actions: absolute, shape (..., horizon, robot_dim) [rad; m for carriages].
            state: at the chunk's beginning, shape (..., robot_dim), same units.

        Returns:
            Normalised and padded, float32, shape (..., horizon, model_dim).

        Raises:
            ObservationError: arrays of other shapes.
        """
        n = self.config.robot_dim
        fits = actions.ndim == state.ndim + 1 and actions.shape[:-2] == state.shape[:-1]
        if not fits or state.shape[-1:] != (n,) or actions.shape[-1] != n:
            raise ObservationError(
                f"actions must have shape (..., horizon, {n}) and the state (..., {n}), "
                f"got {actions.shape} and {state.shape}"
            )
        relative = to_delta(actions, state, self.config.delta_mask)
        normalised = self._normalise(relative, self._action_stats)
        return pad_last(normalised.astype(np.float32), self.config.model_dim)

    def prefix(self, request: Mapping[str, Any]) -> tuple[NDArray[np.float32], int] | None:
        """What the model's actions shall agree with, for real-time chunking.

        Args:
            request: may have ``rtc``: rows of absolute targets, due when the answer's rows are, and
                how many of them are frozen (see ``request_prefix``).

        Returns:
            Normalised and padded rows, shape (rows, model_dim), as :meth:`training_actions` gives
            them, and how many are frozen; None without ``rtc``.

        Raises:
            ObservationError: ``rtc`` or the state is malformed.
        """
        given = request_prefix(request, self.config.robot_dim)
        if given is None:
            return None
        state = request_state(request, self.config.robot_dim)
        return self.training_actions(given.positions, state), given.frozen

    def _normalise(self, values: NDArray[Any], stats: NormStats) -> NDArray[np.float64]:
        return normalise(values, stats, quantiles=self.config.quantiles)

    def _warn_once(self, prompt: str, tokens: int, max_len: int) -> None:
        """Logs the first time that a prompt is too long; remembers some hundred of them."""
        key = hash(prompt)
        with self._truncated_lock:
            if key in self._truncated:
                return
            self._truncated[key] = None
            if len(self._truncated) > _REMEMBERED_PROMPTS:
                del self._truncated[next(iter(self._truncated))]
        log_truncated(prompt, tokens, max_len)


def _usable(stats: Mapping[str, NormStats], name: str, config: TransformConfig) -> NormStats:
    if name not in stats:
        raise NormStatsError(f"statistics of '{name}' are missing, there are {sorted(stats)}")
    if stats[name].dimensions < config.robot_dim:
        raise NormStatsError(
            f"statistics of '{name}' must have {config.robot_dim} or more dimensions, "
            f"got {stats[name].dimensions}: they were made for another robot"
        )
    if config.quantiles:
        try:
            stats[name].bounds()
        except NormStatsError as error:
            raise NormStatsError(f"'{name}': {error}") from error
    return stats[name]
