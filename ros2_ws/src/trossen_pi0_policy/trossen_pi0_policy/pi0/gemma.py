"""The two Gemma transformers that attend to each other's tokens."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.ad_checkpoint import checkpoint_name

from trossen_pi0_policy.pi0 import kernels
from trossen_pi0_policy.pi0.adapters import Adapter, adapted_halves, adapted_product, adapters
from trossen_pi0_policy.pi0.attention import Fused, FusedAttention, Rope, attend
from trossen_pi0_policy.pi0.config import ExpertConfig
from trossen_pi0_policy.pi0.kernels import Passes
from trossen_pi0_policy.pi0.widened import HALVES
from trossen_pi0_policy.pi0.widened_steps import (
    adapted,
    feed_forward,
    normalised,
    rotated,
    wide_product,
    with_inner,
    without_inner,
)

Initializer = Callable[..., jax.Array]
Cache = tuple[jax.Array, jax.Array]
"""Rotated keys and values of one layer, each (batch, tokens, kv_heads, head_dim)."""

Tokens = tuple[jax.Array | None, jax.Array | None]
"""Tokens of language and action expert, each (batch, tokens, width), or None."""

_fan_in = nn.initializers.lecun_normal()
_small = nn.initializers.normal(stddev=0.01)


class RmsNorm(nn.Module):
    """RMS norm with a learned scale, or one that a modulation from outside adapts.

    Attributes:
        adaptive: scale, shift and gate come from ``condition`` (adaRMS of π0.5).
        steps: with ``adaptive``: the modulations of so many flow steps, and behind them that of
            flow time 0, are parameters, and ``condition`` is the index of the step.
    """

    adaptive: bool = False
    steps: int = 0

    @nn.compact
    def __call__(
        self, x: jax.Array, condition: jax.Array | None = None
    ) -> tuple[jax.Array, jax.Array | None]:
        """Normalises.

        Args:
            x: shape (batch, tokens, width).
            condition: with ``adaptive``: (batch, width), or the index of the flow step; or for
                each token its own: (batch, tokens, width) or (batch, tokens).

        Returns:
            the normalised tokens in the type of ``x``, and with ``adaptive`` the gate of the
            residual branch, shape (batch or 1, tokens or 1, width).
        """
        normed = kernels.rms_normalise(x)
        if not self.adaptive:
            scale = self.param("scale", nn.initializers.zeros, (x.shape[-1],))
            return (normed * (1 + scale)).astype(x.dtype), None
        assert condition is not None
        scale, shift, gate = jnp.split(
            self._modulation(condition, 3 * x.shape[-1], x.dtype), 3, axis=-1
        )
        return (normed * (1 + scale) + shift).astype(x.dtype), gate

    def given(self) -> jax.Array:
        """The scale of one that is not adaptive, where the parameters are there."""
        parameters: Any = self.variables["params"]
        return parameters["scale"]

    @nn.compact
    def tables(self, step: jax.Array, width: int) -> kernels.Modulation:
        """What the norm does to its normalised input, for the kernels.

        Args:
            step: index of the flow step, which an adaptive norm with ``steps`` depends on.
            width: of the input.
        """
        if not self.adaptive:
            scale = self.param("scale", nn.initializers.zeros, (width,))
            return kernels.Modulation(scale.astype(jnp.float32))
        scale, shift, gate = jnp.split(self._modulation(step, 3 * width, jnp.float32)[0, 0], 3)
        return kernels.Modulation(scale, shift, gate)

    def _modulation(self, condition: jax.Array, width: int, dtype: Any) -> jax.Array:
        if self.steps:
            table = self.param("modulations", nn.initializers.zeros, (self.steps + 1, width))
            return table[condition] if condition.ndim else table[condition][None, None]
        dense = nn.Dense(width, kernel_init=nn.initializers.zeros, dtype=dtype, name="modulation")
        modulation = dense(condition)
        return modulation if condition.ndim == 3 else modulation[:, None]


class Projection(nn.Module):
    """A weight without bias.

    Attributes:
        shape: (inputs, outputs).
        adapter: of the weight, where it has one.
        widened: weight and adapter are given as ``widened`` arranges them.
        passes: of a widened weight, see ``widened_steps``.
    """

    shape: tuple[int, int]
    adapter: Adapter | None = None
    widened: bool = False
    passes: Passes = "none"

    def setup(self) -> None:
        """Names the parameters."""
        if self.widened:
            return
        self.kernel = self.param("kernel", _fan_in, self.shape)
        shapes = self.adapter.shapes if self.adapter else {}
        self.factors = {name: self.param(name, _small, shape) for name, shape in shapes.items()}

    def __call__(self, x: jax.Array) -> jax.Array:
        """Multiplies; shape (..., inputs) to (..., outputs)."""
        if self.widened:
            return adapted(self.passes, x, *self.given("kernel", "a", "b"))
        if self.adapter is None:
            return x @ self.kernel.astype(x.dtype)
        return adapted_product(x, self.kernel, *self.adapter.join(self.factors))

    def halves(self, x: jax.Array) -> tuple[jax.Array, jax.Array]:
        """The first and the second half of the outputs."""
        if self.adapter is None:
            first, second = jnp.split(self(x), 2, axis=-1)
            return first, second
        return adapted_halves(x, self.kernel, self.factors)

    def given(self, *names: str) -> tuple[jax.Array, ...]:
        """Arrays of a widened weight."""
        parameters: Any = self.variables["params"]
        return tuple(parameters[name] for name in names)


class ExpertLayer(nn.Module):
    """What one expert does in one layer, around the attention that both share.

    Attributes:
        config: sizes.
        adaptive: π0.5's norms.
        steps: see ``RmsNorm``.
        widened: see ``Projection``.
        passes: likewise.
    """

    config: ExpertConfig
    adaptive: bool = False
    steps: int = 0
    widened: bool = False
    passes: Passes = "none"

    def setup(self) -> None:
        """Names the parameters."""
        c, adapter = self.config, adapters(self.config)
        attended = c.num_heads * c.head_dim
        self.attention_norm = RmsNorm(self.adaptive, self.steps)
        how = self.widened, self.passes
        self.qkv = Projection((c.width, c.qkv_dim), adapter.get("qkv"), *how)
        self.out = Projection((attended, c.width), adapter.get("out"), *how)
        self.mlp_norm = RmsNorm(self.adaptive, self.steps)
        self.gate_up = Projection((c.width, 2 * c.mlp_dim), adapter.get("gate_up"), *how)
        self.down = Projection((c.mlp_dim, c.width), adapter.get("down"), *how)

    def project(
        self, x: jax.Array, rope: Rope, condition: jax.Array | None
    ) -> tuple[jax.Array, jax.Array, jax.Array, jax.Array | None, jax.Array]:
        """Queries (scaled), keys and values by head, rotated; gate and input of the residual."""
        c = self.config
        gate = None
        if self.widened and not self.adaptive:
            weight, a, b = self.qkv.given("kernel", "a", "b")
            scale = self.attention_norm.given()
            made: Any = normalised(self.passes, "", x, None, scale, a)
            x, *wide = made
            heads: Any = wide_product(*wide, weight, b)
        else:
            normed, gate = self.attention_norm(x, condition)
            heads = self.qkv(normed)
        heads = heads.reshape(*x.shape[:2], -1, c.head_dim)
        turned = rotated(self.passes, (c.num_heads, c.num_kv_heads), heads, rope)
        q, k, v = (checkpoint_name(y, f"{self.name}_qkv") for y in turned)
        return q, k, v, gate, x

    def attend(
        self, queries: jax.Array, parts: list[tuple[jax.Array, jax.Array, jax.Array]]
    ) -> jax.Array:
        """See ``attention.attend``."""
        attended = attend(queries, parts, f"{self.name}_weights")
        return checkpoint_name(attended, f"{self.name}_attended")

    def finish(
        self,
        x: jax.Array,
        attended: jax.Array,
        gate: jax.Array | None,
        condition: jax.Array | None,
    ) -> jax.Array:
        """Residual of the attention, then the feed-forward layer (GeGLU) with its own."""
        out, between = self.out(attended), f"{self.name}_between"
        if self.widened and not self.adaptive:
            (a,), scale = self.gate_up.given("a"), self.mlp_norm.given()
            made: Any = normalised(self.passes, between, x, out, scale, a)
            x, *wide = made
            return self._widened_feed_forward(wide, x)
        x = checkpoint_name(add_gated(x, out, gate), between)
        normed, gate = self.mlp_norm(x, condition)
        return add_gated(x, self._feed_forward(normed), gate)

    def _feed_forward(self, x: jax.Array) -> jax.Array:
        if self.widened:
            wide: Any = with_inner(self.passes, x, *self.gate_up.given("a"))
            return self._widened_feed_forward(wide, None)
        middle = f"{self.name}_middle"
        gate, up = (checkpoint_name(h, middle) for h in self.gate_up.halves(x))
        return self.down(nn.gelu(gate) * up)

    def _widened_feed_forward(
        self, wide: Sequence[jax.Array], residual: jax.Array | None
    ) -> jax.Array:
        weight, a, b = self.down.given("kernel", "a", "b")
        gate_up, middle = self.gate_up.given(*HALVES, "b"), f"{self.name}_middle"
        both = feed_forward(self.passes, middle, *wide, gate_up, (weight, a))
        return without_inner(self.passes, both, b, residual)

    def prefill(
        self, x: jax.Array, rope: Rope, bias: jax.Array, *, interpret: bool
    ) -> tuple[jax.Array, Cache]:
        """The layer over the prefix alone, with the attention in one kernel.

        Args:
            x: shape (batch, tokens, width).
            rope: of these tokens.
            bias: added to the logits of each key, float32, shape (batch, tokens).
            interpret: run the kernel without a GPU.

        Returns:
            the tokens, and their keys and values.
        """
        q, k, v, gate, x = self.project(x, rope, None)
        attended = kernels.attend_prefix(q, k[:, :, 0], v[:, :, 0], bias, interpret=interpret)
        return self.finish(x, attended, gate, None), (k, v)

    def modulations(self, step: jax.Array) -> tuple[kernels.Modulation, kernels.Modulation]:
        """What the norms before attention and feed-forward layer do in a flow step."""
        width = self.config.width
        return self.attention_norm.tables(step, width), self.mlp_norm.tables(step, width)

    def denoise(
        self,
        x: jax.Array,
        normed: jax.Array,
        cache: Cache,
        tables: kernels.Tables,
        modulations: Sequence[kernels.Modulation],
    ) -> tuple[jax.Array, jax.Array]:
        """The whole layer by the fused kernels, for packed parameters and one key head.

        Args:
            x: padded tokens, float32, shape (batch * kernels.ROWS, width).
            normed: those behind the norm before the attention.
            cache: of the prefix.
            tables: of positions and masks.
            modulations: of the norms before the attention, before the feed-forward layer, and
                of the one behind this layer.

        Returns:
            tokens, and those behind the next norm.
        """
        c, (first, second, behind) = self.config, modulations
        qkv = kernels.project_rope(
            normed, self.qkv.kernel, tables, heads=c.num_heads, kv_heads=c.num_kv_heads
        )
        keys, values = cache[0][:, :, 0], cache[1][:, :, 0]
        attended = kernels.attend_cached(qkv, keys, values, tables, heads=c.num_heads)
        parts = kernels.project_parts(attended, self.out.kernel, tables)
        x, normed = kernels.add_normalise(x, parts, tables, first, second, normed.dtype)
        hidden = kernels.project_geglu(normed, self.gate_up.kernel, tables)
        parts = kernels.project_parts(hidden, self.down.kernel, tables)
        return kernels.add_normalise(x, parts, tables, second, behind, normed.dtype)


def add_gated(x: jax.Array, y: jax.Array, gate: jax.Array | None) -> jax.Array:
    """Residual connection, through a gate where there is one; in the type of ``x``."""
    return x + y if gate is None else (x + y * gate).astype(x.dtype)


class Block(nn.Module):
    """One layer of both experts.

    Attributes:
        configs: language and action expert.
        adaptive: π0.5's norms in the action expert; the language expert's are never adaptive.
        steps: see ``RmsNorm``.
        fused: how language tokens attend to each other where ``lengths`` are given.
        widened: see ``Projection``.
        passes: of the language expert, see ``Projection``; the action expert has few tokens.
    """

    configs: tuple[ExpertConfig, ExpertConfig]
    adaptive: bool = False
    steps: int = 0
    fused: Fused = "xla"
    widened: bool = False
    passes: Passes = "none"

    def setup(self) -> None:
        """Names the parameters."""
        language = self.configs[0]
        self.language = ExpertLayer(language, widened=self.widened, passes=self.passes)
        self.action = ExpertLayer(self.configs[1], self.adaptive, self.steps, self.widened)

    def __call__(
        self,
        tokens: Tokens,
        cache: Cache | None,
        ropes: Sequence[Rope | None],
        masks: Sequence[Sequence[jax.Array]],
        condition: jax.Array | None,
        lengths: jax.Array | None = None,
        *,
        last: bool = False,
    ) -> tuple[Tokens, Cache]:
        """Runs the layer for the experts whose tokens are given.

        Args:
            tokens: of language and action expert, each (batch, tokens, width) or None.
            cache: keys and values seen besides those of ``tokens``, before them.
            ropes: one for each expert.
            masks: for each expert, what its tokens see of each part: cache, language, action
                tokens, leaving out the parts that are not there.
            condition: see ``RmsNorm``, for the action expert.
            lengths: int32, shape (batch,): language tokens see so many first ones of their own,
                whatever their mask; None: as the mask says.
            last: nobody reads the language tokens behind this layer, which become None.

        Returns:
            the tokens, and the keys and values of the first expert that ran.
        """
        experts = (self.language, self.action)
        conditions = (None, condition)
        projected = {}
        for i, x in enumerate(tokens):
            if x is not None:
                rope = ropes[i]
                assert rope is not None
                projected[i] = experts[i].project(x, rope, conditions[i])
        seen = [(k, v) for _, k, v, *_ in projected.values()]
        if cache is not None:
            seen = [cache, *seen]
        out: list[jax.Array | None] = [None, None]
        for i, (q, _, _, gate, x) in projected.items():
            if i == 0 and last:
                continue
            if i == 0 and lengths is not None:
                keys, values = seen[0]
                fused = FusedAttention(self.fused, "language_attended")
                attended = fused(q, keys, values, lengths)
            else:
                visible = [(k, v, m) for (k, v), m in zip(seen, masks[i], strict=False)]
                attended = experts[i].attend(q, visible)
            out[i] = experts[i].finish(x, attended, gate, conditions[i])
        _, k, v, *_ = next(iter(projected.values()))
        return (out[0], out[1]), (k, v)
