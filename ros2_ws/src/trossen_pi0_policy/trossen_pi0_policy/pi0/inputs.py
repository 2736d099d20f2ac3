"""What the sampler is given, on its way to the device."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

from trossen_pi0_core.errors import BackendError
from trossen_pi0_core.transforms import ModelInputs
from trossen_pi0_policy.pi0.config import Pi0Config
from trossen_pi0_policy.pi0.model import ModelBatch, PrefixBatch


@dataclass(frozen=True, eq=False)
class Prefix:
    """What a sampled chunk shall agree with.

    Attributes:
        target: normalised and padded, finite, float32, shape (rows, action_dim), rows from 1 to
            the horizon; 0 in dimensions that the robot does not have.
        frozen: so many first rows are executed whatever is sampled, from 0 to ``rows``.
        robot_dim: dimensions that the robot has, the first ones.
    """

    target: NDArray[np.float32]
    frozen: int
    robot_dim: int

    def fields(self, config: Pi0Config) -> dict[str, NDArray[Any]]:
        """By name of the input, as ``PrefixBatch`` has them; rows behind the last are 0.

        Raises:
            BackendError: another shape, or rows beyond the target that shall be frozen.
        """
        rows, (horizon, width) = len(self.target), (config.action_horizon, config.action_dim)
        if self.target.shape != (rows, width) or not 1 <= rows <= horizon:
            raise BackendError(
                f"a prefix must have shape (1 to {horizon} rows, {width}), got {self.target.shape}"
            )
        if not 0 <= self.frozen <= rows or not 0 <= self.robot_dim <= width:
            raise BackendError(
                f"a prefix of {rows} rows must have 0 to {rows} frozen ones and 0 to {width} "
                f"robot dimensions, got {self.frozen} and {self.robot_dim}"
            )
        target = np.zeros((horizon, width), np.float32)
        target[:rows] = self.target
        return {
            "target": target,
            "frozen": np.array(self.frozen, np.int32),
            "overlap": np.array(rows, np.int32),
            "dims": np.arange(width) < self.robot_dim,
        }


class InputBuffer:
    """All inputs of a batch in one array of bytes, since each transfer to a GPU takes its time."""

    def __init__(self, config: Pi0Config, *, with_prefix: bool = False) -> None:
        """Args:
        config: of the model.
        with_prefix: each observation brings a prefix.
        """
        self._config = config
        self._with_prefix = with_prefix
        size, cameras = config.image_size, len(config.cameras)
        self._fields: list[tuple[str, tuple[int, ...], np.dtype[Any]]] = [
            ("noise", (config.action_horizon, config.action_dim), np.dtype(np.float32)),
            ("state", (config.action_dim,), np.dtype(np.float32)),
            ("tokens", (config.max_token_len,), np.dtype(np.int32)),
            ("token_mask", (config.max_token_len,), np.dtype(np.bool_)),
            ("image_mask", (cameras,), np.dtype(np.bool_)),
            ("images", (cameras, 3, size, size), np.dtype(np.uint8)),
        ]
        if with_prefix:
            self._fields[:0] = [
                ("target", (config.action_horizon, config.action_dim), np.dtype(np.float32)),
                ("frozen", (), np.dtype(np.int32)),
                ("overlap", (), np.dtype(np.int32)),
            ]
            self._fields.append(("dims", (config.action_dim,), np.dtype(np.bool_)))
        self.size = sum(math.prod(shape) * dtype.itemsize for _, shape, dtype in self._fields)

    def write(
        self,
        inputs: Sequence[ModelInputs],
        noise: NDArray[np.float32],
        prefixes: Sequence[Prefix] | None = None,
    ) -> NDArray[np.uint8]:
        """The bytes, shape (batch, size).

        Args:
            inputs: of each observation.
            noise: shape (batch, horizon, action_dim).
            prefixes: of each observation, if the buffer is for them.
        """
        buffer = np.empty((len(inputs), self.size), np.uint8)
        for i, (row, each, start) in enumerate(zip(buffer, inputs, noise, strict=True)):
            others = {} if prefixes is None else prefixes[i].fields(self._config)
            others["noise"] = start
            begin = 0
            for name, shape, dtype in self._fields:
                value = others[name] if name in others else getattr(each, name)
                if name == "images":
                    value = value.transpose(0, 3, 1, 2)  # as they lie in memory
                if value.shape != shape:
                    raise BackendError(f"{name} must have shape {shape}, got {value.shape}")
                end = begin + math.prod(shape) * dtype.itemsize
                row[begin:end].view(dtype).reshape(shape)[...] = value
                begin = end
        return buffer

    def read(self, buffer: jax.Array) -> tuple[ModelBatch, jax.Array, PrefixBatch | None]:
        """Observations, noise and prefixes, if there are any, out of the bytes, on the device."""
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
        prefix = None
        if self._with_prefix:
            names = ("target", "frozen", "overlap", "dims")
            prefix = PrefixBatch(**{name: values.pop(name) for name in names})
        return ModelBatch(**values), noise, prefix
