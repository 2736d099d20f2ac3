"""Where the commands get their policy from. Imports JAX once a policy is made."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from trossen_pi0_policy.compilation import use_compilation_cache
from trossen_pi0_policy.serving.policy import ServedPolicy

if TYPE_CHECKING:
    from trossen_pi0_policy.pi0.policy import RtcChoice


class LocalPolicy(ServedPolicy, Protocol):
    """A policy in this process, as the commands use it."""

    def warm_up(self) -> None:
        """Compiles everything that an observation needs."""
        ...

    def infer_one(
        self, request: Mapping[str, Any], *, noise: NDArray[np.float32] | None = None
    ) -> dict[str, Any]:
        """Answers one observation.

        Args:
            request: as ``ServedPolicy.prepare`` takes it.
            noise: start of the flow, shape (horizon, model_dim); None: drawn anew.
        """
        ...


def load_from(
    arguments: argparse.Namespace, *, max_batch: int = 1, rtc: RtcChoice = "none"
) -> LocalPolicy:
    """The policy of ``--checkpoint``, as the other arguments say.

    Raises:
        TrossenPi0Error: the checkpoint cannot be read, or does not fit.
    """
    use_compilation_cache(arguments.compilation_cache)
    from trossen_pi0_policy.pi0.policy import load_policy

    return load_policy(
        arguments.checkpoint,
        arguments.config,
        dtype=arguments.dtype,
        steps=arguments.steps,
        tokenizer_file=arguments.tokenizer,
        default_prompt=arguments.default_prompt,
        asset_id=arguments.asset_id,
        reference_client_compat=arguments.reference_client_compat,
        max_batch=max_batch,
        rtc=rtc,
    )


def make_random(arguments: argparse.Namespace) -> LocalPolicy:
    """The policy of ``--preset`` with random weights.

    Raises:
        TrossenPi0Error: there is no such preset.
    """
    use_compilation_cache(arguments.compilation_cache)
    from trossen_pi0_policy.pi0.config import get_config, with_cameras
    from trossen_pi0_policy.pi0.policy import random_policy

    config = get_config(arguments.preset)
    if arguments.model_cameras is not None:
        config = with_cameras(config, arguments.model_cameras)
    return random_policy(
        config,
        dtype=arguments.dtype,
        steps=arguments.steps,
        seed=arguments.seed,
        max_batch=arguments.batch,
        rtc=arguments.rtc,
    )
