"""The compiled sampler: numpy in, numpy out."""

from __future__ import annotations

import contextlib
import logging
import math
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

from trossen_pi0_core.errors import BackendError
from trossen_pi0_core.transforms import ModelInputs
from trossen_pi0_policy.pi0 import kernels
from trossen_pi0_policy.pi0.config import Pi0Config
from trossen_pi0_policy.pi0.model import ModelBatch, Pi0
from trossen_pi0_policy.pi0.packing import pack, serving_model

Precision = Literal["auto", "bfloat16", "float32"]
"""Of weights and activations; auto is bfloat16, on a CPU float32, which is faster there."""

_LOG = logging.getLogger(__name__)
_HALF_PRECISION = (8, 0)
"""First compute capability of NVIDIA GPUs that multiplies in bfloat16."""


class InputBuffer:
    """All inputs of a batch in one array of bytes, since each transfer to a GPU takes its time."""

    def __init__(self, config: Pi0Config) -> None:
        """Args:
        config: of the model.
        """
        size, cameras = config.image_size, len(config.cameras)
        self._fields: list[tuple[str, tuple[int, ...], np.dtype[Any]]] = [
            ("noise", (config.action_horizon, config.action_dim), np.dtype(np.float32)),
            ("state", (config.action_dim,), np.dtype(np.float32)),
            ("tokens", (config.max_token_len,), np.dtype(np.int32)),
            ("token_mask", (config.max_token_len,), np.dtype(np.bool_)),
            ("image_mask", (cameras,), np.dtype(np.bool_)),
            ("images", (cameras, 3, size, size), np.dtype(np.uint8)),
        ]
        self.size = sum(math.prod(shape) * dtype.itemsize for _, shape, dtype in self._fields)

    def write(self, inputs: Sequence[ModelInputs], noise: NDArray[np.float32]) -> NDArray[np.uint8]:
        """The bytes, shape (batch, size).

        Args:
            inputs: of each observation.
            noise: shape (batch, horizon, action_dim).
        """
        buffer = np.empty((len(inputs), self.size), np.uint8)
        for row, each, start in zip(buffer, inputs, noise, strict=True):
            begin = 0
            for name, shape, dtype in self._fields:
                value = start if name == "noise" else getattr(each, name)
                if name == "images":
                    value = value.transpose(0, 3, 1, 2)  # as they lie in memory
                if value.shape != shape:
                    raise BackendError(f"{name} must have shape {shape}, got {value.shape}")
                end = begin + math.prod(shape) * dtype.itemsize
                row[begin:end].view(dtype).reshape(shape)[...] = value
                begin = end
        return buffer

    def read(self, buffer: jax.Array) -> tuple[ModelBatch, jax.Array]:
        """Observations and noise out of the bytes, on the device."""
        batch, begin = buffer.shape[0], 0
        values = {}
        for name, shape, dtype in self._fields:
            end = begin + math.prod(shape) * dtype.itemsize
            part = buffer[:, begin:end]
            if dtype == np.bool_:
                part = part != 0
            elif dtype.itemsize > 1:
                part = jax.lax.bitcast_convert_type(
                    part.reshape(batch, -1, dtype.itemsize), jnp.dtype(dtype)
                )
            values[name] = part.reshape(batch, *shape)
            begin = end
        noise = values.pop("noise")
        values["images"] = values["images"].transpose(0, 1, 3, 4, 2)
        return ModelBatch(**values), noise


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
        """
        self.config = config
        self.max_batch = max_batch
        if dtype == "auto":
            dtype = "float32" if jax.default_backend() == "cpu" else "bfloat16"
        self._dtype = dtype
        gpu = jax.default_backend() == "gpu"
        half = dtype == "bfloat16"
        self._parameters = pack(tree, config, steps=steps, dtype=jnp.dtype(dtype), align=gpu)
        self._buffer = InputBuffer(config)
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
        """Compiles every batch size and runs it once.

        Where a GPU does not take the joined kernels, those of the compiler are used.
        """
        for size in self.sizes:
            zeros = np.zeros((size, self._buffer.size), np.uint8)
            try:
                self._run(zeros)
            except (RuntimeError, TypeError, ValueError) as error:
                if "kernels" not in self._choices:
                    raise
                _LOG.warning("the joined GPU kernels do not run here, going without: %s", error)
                del self._choices["kernels"]
                self._build()
                self._run(zeros)

    def __call__(
        self, inputs: Sequence[ModelInputs], noise: NDArray[np.float32]
    ) -> NDArray[np.float32]:
        """Samples a chunk for each observation.

        Args:
            inputs: 1 to ``max_batch`` observations.
            noise: standard normal, shape (batch, horizon, action_dim).

        Returns:
            normalised actions, float32, shape (batch, horizon, action_dim).

        Raises:
            BackendError: inputs of other shapes than the model takes, or too many.
        """
        count = len(inputs)
        if not 1 <= count <= self.max_batch:
            raise BackendError(f"a batch must have 1 to {self.max_batch} entries, got {count}")
        buffer = self._buffer.write(inputs, noise)
        size = next(size for size in self.sizes if size >= count)
        if size > count:
            buffer = np.concatenate([buffer, np.repeat(buffer[:1], size - count, axis=0)])
        return self._run(buffer)[:count]

    def _build(self) -> None:
        """The model as it was chosen; compiled when it is first run."""
        self._model = serving_model(self.config, **self._choices)
        self._jitted = jax.jit(self._sample)

    def _run(self, buffer: NDArray[np.uint8]) -> NDArray[np.float32]:
        with self._precision():
            return np.asarray(self._jitted(self._parameters, buffer))

    def _sample(self, parameters: Any, buffer: jax.Array) -> jax.Array:
        batch, noise = self._buffer.read(buffer)
        actions = self._model.apply({"params": parameters}, batch, noise, method=Pi0.sample)
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
