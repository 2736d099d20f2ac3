"""The compiled sampler: numpy in, numpy out."""

from __future__ import annotations

import contextlib
import itertools
import logging
import math
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

from trossen_pi0_core.errors import BackendError, ParameterError
from trossen_pi0_core.transforms import ModelInputs
from trossen_pi0_policy.pi0 import kernels
from trossen_pi0_policy.pi0.config import Pi0Config
from trossen_pi0_policy.pi0.guidance import MAX_GUIDANCE_WEIGHT
from trossen_pi0_policy.pi0.inputs import InputBuffer, Prefix
from trossen_pi0_policy.pi0.model import Pi0
from trossen_pi0_policy.pi0.packing import pack, serving_model

Precision = Literal["auto", "bfloat16", "float32"]
"""Of weights and activations; auto is bfloat16, on a CPU float32, which is faster there."""

Rtc = Literal["none", "guided", "conditioned"]
"""How a chunk is made to agree with a prefix: not at all, by guidance (arXiv 2506.07339), or by
clean rows at flow time 0, which the model must have been trained with (arXiv 2512.05964)."""

_LOG = logging.getLogger(__name__)
_HALF_PRECISION = (8, 0)
"""First compute capability of NVIDIA GPUs that multiplies in bfloat16."""


class Sampler:
    """Samples action chunks by packed parameters. One thread at a time."""

    def __init__(
        self,
        tree: Mapping[str, Any],
        config: Pi0Config,
        *,
        steps: int = 10,
        dtype: Precision = "auto",
        max_batch: int = 1,
        with_cudnn: bool = True,
        with_kernels: bool = True,
        rtc: Rtc = "none",
        max_guidance_weight: float = MAX_GUIDANCE_WEIGHT,
    ) -> None:
        """Packs the parameters onto the device; compiles nothing yet.

        Args:
            tree: parameters as ``parameters.from_openpi`` arranges them.
            config: of these parameters.
            steps: Euler steps.
            dtype: of weights and activations.
            max_batch: most observations in one call; smaller batches are filled up to the next
                power of two.
            with_cudnn: attend to pictures by cuDNN, on GPUs that can.
            with_kernels: run the joined kernels, on GPUs that can.
            rtc: what a prefix does.
            max_guidance_weight: bound on the weight of the guidance, above 0.

        Raises:
            ParameterError: another bound.
        """
        if not 0 < max_guidance_weight < math.inf:
            raise ParameterError(
                f"max_guidance_weight must be above 0 and finite, got {max_guidance_weight}"
            )
        self.config = config
        self.max_batch = max_batch
        self.rtc: Rtc = rtc
        self._max_guidance_weight = max_guidance_weight
        if dtype == "auto":
            dtype = "float32" if jax.default_backend() == "cpu" else "bfloat16"
        self._dtype = dtype
        gpu = jax.default_backend() == "gpu"
        half = dtype == "bfloat16"
        self._parameters = pack(tree, config, steps=steps, dtype=jnp.dtype(dtype), align=gpu)
        self._buffer = InputBuffer(config)
        self._prefix_buffer = InputBuffer(config, with_prefix=True)
        self._choices: dict[str, Any] = {"steps": steps, "dtype": jnp.dtype(dtype), "align": gpu}
        if gpu and half and _compute_capability() >= _HALF_PRECISION:
            self._choices["cudnn"] = with_cudnn
            fits = kernels.fits(config.action, config.suffix_len) and kernels.available()
            if with_kernels and fits:
                self._choices["kernels"] = "triton"
        self._build()

    @property
    def sizes(self) -> list[int]:
        """Batch sizes that are compiled: powers of two, and the largest."""
        powers = [1 << i for i in range(self.max_batch.bit_length())]
        return sorted({size for size in powers if size <= self.max_batch} | {self.max_batch})

    def warm_up(self) -> None:
        """Compiles every batch size, with and without prefixes, and runs it once.

        Where a GPU does not take the joined kernels, those of the compiler are used.
        """
        try:
            self._run_all()
        except (RuntimeError, TypeError, ValueError) as error:
            if "kernels" not in self._choices:
                raise
            _LOG.warning("the joined GPU kernels do not run here, going without: %s", error)
            del self._choices["kernels"]
            self._build()
            self._run_all()

    def __call__(
        self,
        inputs: Sequence[ModelInputs],
        noise: NDArray[np.float32],
        prefixes: Sequence[Prefix] | None = None,
    ) -> NDArray[np.float32]:
        """Samples a chunk for each observation.

        Args:
            inputs: 1 to ``max_batch`` observations.
            noise: standard normal, shape (batch, horizon, action_dim).
            prefixes: what each chunk shall agree with, unless ``rtc`` is none; None: nothing.

        Returns:
            normalised actions, float32, shape (batch, horizon, action_dim).

        Raises:
            BackendError: inputs of other shapes than the model takes, or too many; prefixes
                without ``rtc``, or malformed.
        """
        count = len(inputs)
        if prefixes is not None and (self.rtc == "none" or len(prefixes) != count):
            raise BackendError(
                f"a sampler with rtc={self.rtc!r} was given {len(prefixes)} prefixes for {count} "
                "observations"
            )
        if not 1 <= count <= self.max_batch:
            raise BackendError(f"a batch must have 1 to {self.max_batch} entries, got {count}")
        if prefixes is None:
            buffer = self._buffer.write(inputs, noise)
        else:
            buffer = self._prefix_buffer.write(inputs, noise, prefixes)
        size = next(size for size in self.sizes if size >= count)
        if size > count:
            buffer = np.concatenate([buffer, np.repeat(buffer[:1], size - count, axis=0)])
        return self._run(buffer)[:count]

    def _build(self) -> None:
        """The model as it was chosen; compiled when it is first run."""
        self._model = serving_model(self.config, **self._choices)
        self._jitted = jax.jit(self._sample)

    def _run_all(self) -> None:
        """Every program once, on zeros."""
        buffers = [self._buffer] if self.rtc == "none" else [self._buffer, self._prefix_buffer]
        for size, buffer in itertools.product(self.sizes, buffers):
            self._run(np.zeros((size, buffer.size), np.uint8))

    def _run(self, buffer: NDArray[np.uint8]) -> NDArray[np.float32]:
        with self._precision():
            return np.asarray(self._jitted(self._parameters, buffer))

    def _sample(self, parameters: Any, buffer: jax.Array) -> jax.Array:
        """Whether there are prefixes is seen by the buffer's size, for which it is compiled."""
        with_prefix = buffer.shape[1] == self._prefix_buffer.size
        layout = self._prefix_buffer if with_prefix else self._buffer
        batch, noise, prefix = layout.read(buffer)
        given: tuple[Any, ...] = (batch, noise)
        method = Pi0.sample
        if prefix is not None and self.rtc == "guided":
            given, method = (*given, prefix, self._max_guidance_weight), Pi0.sample_guided
        elif prefix is not None:
            given, method = (*given, prefix), Pi0.sample_conditioned
        actions = self._model.apply({"params": parameters}, *given, method=method)
        assert isinstance(actions, jax.Array)
        return actions

    def _precision(self) -> AbstractContextManager[Any]:
        """float32 means float32: GPUs would multiply with 10 bits of mantissa by default."""
        if self._dtype == "float32":
            return jax.default_matmul_precision("highest")
        return contextlib.nullcontext()


def _compute_capability() -> tuple[int, ...]:
    """Of the first NVIDIA GPU; (0,) where a device has none."""
    found = str(getattr(jax.devices()[0], "compute_capability", "0"))
    return tuple(int(part) for part in found.split(".") if part.isdecimal())
