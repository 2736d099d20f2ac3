"""π0 and π0.5: flow matching of action chunks with two Gemma experts."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, Literal

import flax.linen as nn
import flax.struct
import jax
import jax.numpy as jnp

from trossen_pi0_policy.pi0 import kernels
from trossen_pi0_policy.pi0.attention import (
    MASKED,
    Fused,
    prefix_mask,
    rope_tables,
    suffix_mask,
    valid_first,
)
from trossen_pi0_policy.pi0.config import Pi0Config
from trossen_pi0_policy.pi0.flow import embed_time, embedded_steps, flow_times
from trossen_pi0_policy.pi0.gemma import Block, Cache, RmsNorm, Tokens
from trossen_pi0_policy.pi0.guidance import guided_velocity, prefix_weights
from trossen_pi0_policy.pi0.kernels import Passes
from trossen_pi0_policy.pi0.siglip import VisionTower
from trossen_pi0_policy.pi0.stack import KEPT_ACTIVATIONS, run_layers

Velocity = Callable[[jax.Array, jax.Array], jax.Array]
"""dx/dt of noisy actions (batch, horizon, action_dim). The second argument is the index of the
flow step, a scalar or one for each row, (batch, horizon); behind the last step is flow time 0."""


@flax.struct.dataclass
class ModelBatch:
    """What the model sees, for several observations.

    Attributes:
        images: uint8, or float32 in [-1, 1], shape (batch, cameras, size, size, 3).
        image_mask: bool, shape (batch, cameras): which pictures are there.
        state: normalised and padded, float32, shape (batch, action_dim).
        tokens: int32, shape (batch, max_token_len).
        token_mask: bool, shape (batch, max_token_len).
    """

    images: jax.Array
    image_mask: jax.Array
    state: jax.Array
    tokens: jax.Array
    token_mask: jax.Array


@flax.struct.dataclass
class PrefixBatch:
    """What the sampled chunks shall agree with.

    Attributes:
        target: normalised and padded, finite, float32, shape (batch, horizon, action_dim).
        frozen: int32, shape (batch,): so many first rows are executed whatever is sampled.
        overlap: int32, shape (batch,): rows that ``target`` really has.
        dims: bool, shape (batch, action_dim): dimensions that a robot has.
    """

    target: jax.Array
    frozen: jax.Array
    overlap: jax.Array
    dims: jax.Array


class Pi0(nn.Module):
    """The model, over parameters in one of two arrangements (see ``parameters``).

    Attributes:
        config: sizes.
        dtype: of the transformers' activations: float32 or bfloat16.
        serving_steps: 0: parameters as they are trained, layers stacked. Else: parameters packed
            for sampling with so many flow steps: layers alone, and what depends on the step
            alone worked out.
        cudnn: attend to pictures by cuDNN's fused kernel.
        kernels: run a packed model by the kernels of ``kernels``, or ``interpret`` those.
        kept: which of ``KEPT_ACTIVATIONS`` are kept in training.
        kept_tower: likewise of the picture tower; None: as of the rest.
        kept_layers: of so many layers all of them are kept; such a model's layers are frozen but
            for their adapters, and given as ``widened`` arranges them. None: whatever is trained.
        fused: how language tokens attend in training; None: by products with a float32 softmax
            between them.
        passes: of the picture tower in training, and of layers that are widened, see ``siglip``
            and ``widened_steps``.
    """

    config: Pi0Config
    dtype: Any = jnp.float32
    serving_steps: int = 0
    cudnn: bool = False
    kernels: Literal["none", "triton", "interpret"] = "none"
    kept: Literal["none", "some", "all"] = "none"
    kept_tower: Literal["none", "some", "all"] | None = None
    kept_layers: int | None = None
    fused: Fused | None = None
    passes: Passes = "none"

    def setup(self) -> None:
        """Names the parameters."""
        c, serving = self.config, bool(self.serving_steps)
        kept = KEPT_ACTIVATIONS[self.kept]
        tower = c.vision, c.image_size, c.language.width, self.dtype, not serving, self.cudnn
        of_tower = KEPT_ACTIVATIONS[self.kept_tower or self.kept]
        self.vision = VisionTower(*tower, of_tower, self.passes)
        self.embedding = self.param(
            "embedding", nn.initializers.normal(), (c.vocab_size, c.language.width)
        )
        block = (c.language, c.action), c.pi05, self.serving_steps, self.fused or "xla"
        if serving:
            self.layers = [Block(*block) for _ in range(c.language.depth)]
        else:
            shared: Any = (0, *[nn.broadcast] * 4)
            self.stack = nn.scan(
                nn.remat(
                    Block,
                    prevent_cse=False,
                    policy=jax.checkpoint_policies.save_only_these_names(*kept),
                ),
                variable_axes={"params": 0},
                split_rngs={"params": True},
                in_axes=shared,
                length=c.language.depth,
            )(*block, name="layers")
            self.language_norm = RmsNorm()
        self.action_norm = RmsNorm(c.pi05, self.serving_steps)
        width = c.action.width
        self.action_in = nn.Dense(width)
        self.action_out = nn.Dense(c.action_dim)
        if not c.pi05:
            self.state_in = nn.Dense(width)
        if serving:
            if not c.pi05:
                shape = (self.serving_steps + 1, width)
                self.step_bias = self.param("step_bias", nn.initializers.zeros, shape)
                self.time_out = nn.Dense(width)
        else:
            self.time_in = nn.Dense(width)
            self.time_out = nn.Dense(width)

    def see(self, images: jax.Array) -> jax.Array:
        """Tokens of pictures, as those of ``ModelBatch``; (batch, cameras * tokens, width)."""
        c = self.config
        if images.dtype == jnp.uint8:
            images = images.astype(jnp.float32) / 255.0 * 2.0 - 1.0
        tokens = self.vision(images.reshape(-1, c.image_size, c.image_size, 3))
        return tokens.reshape(images.shape[0], -1, c.language.width).astype(self.dtype)

    def loss(
        self,
        batch: ModelBatch,
        actions: jax.Array,
        noise: jax.Array,
        time: jax.Array,
        pictures: jax.Array | None = None,
    ) -> jax.Array:
        """Flow-matching loss.

        Args:
            batch: observations.
            actions: normalised and padded, float32, shape (batch, horizon, action_dim).
            noise: standard normal, of that shape.
            time: flow time in [0, 1], shape (batch,), or (batch, horizon) for each row its own:
                0 for rows of a clean prefix.
            pictures: the tokens of the batch's pictures, where ``see`` has made them already.

        Returns:
            mean square error over the action dimensions, float32, shape (batch, horizon).
        """
        t = time[:, None, None] if time.ndim == 1 else time[..., None]
        noisy = t * noise + (1 - t) * actions
        prefix, valid, positions = self._prefix(batch, pictures)
        lengths = None
        if self.fused:
            prefix, valid = valid_first(prefix, valid)
            positions = jnp.arange(prefix.shape[1])[None]
            lengths = jnp.sum(valid, axis=1)
        embedded = embed_time(time, self.config.action.width)
        suffix, condition = self._suffix(self._state_token(batch), noisy, embedded)
        suffix_positions = self._suffix_positions(valid)
        head_dim = self.config.language.head_dim
        ropes = (rope_tables(positions, head_dim), rope_tables(suffix_positions, head_dim))
        masks = ([valid[:, None]], [valid[:, None], self._suffix_mask()])
        out = self._run((prefix, suffix), (None, ropes, masks, condition, lengths))
        if self.is_initializing():
            self.language_norm(prefix)  # part of every checkpoint, though nothing is read from it
        out, _ = self.action_norm(out, condition)
        return jnp.mean(jnp.square(self._velocity(out) - (noise - actions)), axis=-1)

    def _run(self, tokens: Tokens, shared: tuple[Any, ...]) -> jax.Array:
        """Action tokens behind all layers, for the loss."""
        c = self.config
        if self.kept_layers is None or self.is_initializing():
            (_, out), _ = self.stack(tokens, *shared)
            assert out is not None
            return out
        experts = c.language, c.action
        how: dict[str, Any] = {"fused": self.fused or "xla", "passes": self.passes}
        block = Block(experts, c.pi05, widened=True, **how, parent=None)
        rest = c.language.depth - 1
        whole = rest if self.kept == "all" else min(self.kept_layers, rest)
        # The last ones first: what is kept of them is needed for the shortest time.
        kept = [KEPT_ACTIVATIONS[self.kept]] * (rest - whole) + [KEPT_ACTIVATIONS["all"]] * whole
        layers = self.variables["params"]["layers"]
        return run_layers(block, c, layers, tokens, shared, kept)

    def sample(self, batch: ModelBatch, noise: jax.Array, *, steps: int = 10) -> jax.Array:
        """Integrates the flow from noise to actions by Euler steps.

        Args:
            batch: observations.
            noise: standard normal, float32, shape (batch, horizon, action_dim).
            steps: Euler steps; a packed model has its own.

        Returns:
            normalised actions, float32, shape (batch, horizon, action_dim).
        """
        steps = self.serving_steps or steps
        velocity = self._flow(batch, steps, with_kernels=True)
        return jax.lax.fori_loop(0, steps, lambda i, x: x - velocity(x, i) / steps, noise)

    def sample_guided(
        self,
        batch: ModelBatch,
        noise: jax.Array,
        prefix: PrefixBatch,
        max_weight: float,
        *,
        steps: int = 10,
    ) -> jax.Array:
        """As ``sample``, guided to agree with a prefix (real-time chunking, arXiv 2506.07339).

        Gradients are taken of the velocity with respect to the noisy actions alone: through the
        action expert, never through the prefix of pictures and prompt.

        Args:
            batch: observations.
            noise: as for ``sample``.
            prefix: what the chunks shall agree with; those without overlap are sampled freely.
            max_weight: bound on the weight of the guidance.
            steps: as for ``sample``.
        """
        steps = self.serving_steps or steps
        velocity = self._flow(batch, steps, with_kernels=False)
        rows = jax.vmap(partial(prefix_weights, horizon=noise.shape[1]))
        weights = rows(prefix.frozen, prefix.overlap)[:, :, None] * prefix.dims[:, None]
        times = jnp.asarray(flow_times(steps))
        guided = partial(
            guided_velocity, target=prefix.target, weights=weights, max_weight=max_weight
        )

        def step(i: jax.Array, x: jax.Array) -> jax.Array:
            return x - guided(lambda x: velocity(x, i), x, times[i]) / steps

        return jax.lax.fori_loop(0, steps, step, noise)

    def sample_conditioned(
        self, batch: ModelBatch, noise: jax.Array, prefix: PrefixBatch, *, steps: int = 10
    ) -> jax.Array:
        """As ``sample``, but frozen rows are clean at flow time 0 and stay as they are.

        For models that were trained so (training-time real-time chunking, arXiv 2512.05964).

        Args:
            batch: observations.
            noise: as for ``sample``.
            prefix: ``target`` and ``frozen`` count. In training dimensions that no robot has are
                padded with zeros in clean rows, so they are zero in ``target`` too.
            steps: as for ``sample``.
        """
        steps = self.serving_steps or steps
        by_kernels = not self.config.pi05  # whose norms differ from row to row then
        velocity = self._flow(batch, steps, with_kernels=by_kernels)
        clean = jnp.arange(noise.shape[1]) < prefix.frozen[:, None]

        def keep(x: jax.Array) -> jax.Array:
            return jnp.where(clean[:, :, None], prefix.target, x)

        def step(i: jax.Array, x: jax.Array) -> jax.Array:
            return keep(x - velocity(x, jnp.where(clean, steps, i)) / steps)

        return jax.lax.fori_loop(0, steps, step, keep(noise))

    def _flow(self, batch: ModelBatch, steps: int, *, with_kernels: bool) -> Velocity:
        """The velocity for these observations, whose prefix is worked out once.

        ``with_kernels``: where the model has them; they have no gradient and take one step for
        all rows.
        """
        prefix, valid, positions = self._prefix(batch)
        caches = self._prefill(prefix, valid, positions)
        state = self._state_token(batch)
        denoise = self._denoiser(caches, valid, with_kernels=with_kernels)
        embedded = embedded_steps(steps, self.config.action.width)

        def velocity(x: jax.Array, step: jax.Array) -> jax.Array:
            time = embedded[step]
            if not step.ndim:
                time = jnp.broadcast_to(time, (x.shape[0], time.shape[0]))
            suffix, condition = self._suffix(state, x, step if self.serving_steps else time)
            return self._velocity(denoise(suffix, condition, step))

        return velocity

    def _prefix(
        self, batch: ModelBatch, pictures: jax.Array | None = None
    ) -> tuple[jax.Array, jax.Array, jax.Array]:
        """Tokens of pictures and prompt, which of them are there, and their positions."""
        c = self.config
        if pictures is None:
            pictures = self.see(batch.images)
        prompt = self.embedding[batch.tokens]
        prompt = prompt * jnp.sqrt(c.language.width).astype(prompt.dtype)
        tokens = jnp.concatenate([pictures, prompt.astype(self.dtype)], axis=1)
        valid = prefix_mask(batch.image_mask, batch.token_mask, c.image_tokens)
        return tokens, valid, jnp.cumsum(valid, axis=1) - 1

    def _suffix_positions(self, valid: jax.Array) -> jax.Array:
        return jnp.sum(valid, axis=1)[:, None] + jnp.arange(self.config.suffix_len)[None]

    def _suffix_mask(self) -> jax.Array:
        return suffix_mask(self.config.suffix_len, state_token=not self.config.pi05)

    def _state_token(self, batch: ModelBatch) -> jax.Array | None:
        return None if self.config.pi05 else self.state_in(batch.state)[:, None]

    def _suffix(
        self, state: jax.Array | None, noisy: jax.Array, time: jax.Array
    ) -> tuple[jax.Array, jax.Array | None]:
        """Tokens of state and noisy actions, and the condition of adaptive norms.

        ``time``: embedded, (batch, width), or for each row its own, (batch, horizon, width); for a
        packed model the index of the step, a scalar or (batch, horizon).
        """
        actions = self.action_in(noisy)
        serving = bool(self.serving_steps)
        if state is None:
            condition = time if serving else nn.swish(self.time_out(nn.swish(self.time_in(time))))
            return actions.astype(self.dtype), condition
        if serving:
            mixed = actions + self.step_bias[time]
        else:
            shape = (*actions.shape[:2], time.shape[-1])
            repeated = jnp.broadcast_to(time[:, None] if time.ndim == 2 else time, shape)
            mixed = self.time_in(jnp.concatenate([actions, repeated], axis=-1))
        actions = self.time_out(nn.swish(mixed))
        return jnp.concatenate([state, actions], axis=1).astype(self.dtype), None

    def _prefill(self, prefix: jax.Array, valid: jax.Array, positions: jax.Array) -> Any:
        """Keys and values of the prefix: a pair for each layer, or stacked as the layers are."""
        rope = rope_tables(positions, self.config.language.head_dim)
        ropes, masks = (rope, None), ([valid[:, None]], [])
        tokens: Tokens = (prefix, None)
        if not self.serving_steps:
            return self.stack(tokens, None, ropes, masks, None, None)[1]
        bias = jnp.where(valid, 0.0, MASKED)
        caches: list[Cache] = []
        for layer in self.layers:
            if self.kernels == "none":
                tokens, cache = layer(tokens, None, ropes, masks, None)
            else:
                interpret = self.kernels == "interpret"
                assert tokens[0] is not None
                x, cache = layer.language.prefill(tokens[0], rope, bias, interpret=interpret)
                tokens = (x, None)
            caches.append(cache)
        return caches

    def _denoiser(
        self, caches: Any, valid: jax.Array, *, with_kernels: bool
    ) -> Callable[[jax.Array, jax.Array | None, jax.Array], jax.Array]:
        """A pass of the suffix through the action expert, its norm included.

        The function takes tokens, the condition of adaptive norms, and the index of the step.
        """
        c = self.config
        rope = rope_tables(self._suffix_positions(valid), c.language.head_dim)
        masks = [valid[:, None], self._suffix_mask()]
        if with_kernels and self.kernels != "none":
            interpret = self.kernels == "interpret"
            tables = kernels.make_tables(*rope, valid, masks[1][0], interpret=interpret)
            return lambda suffix, _, step: self._denoise_by_kernels(suffix, caches, tables, step)

        def denoise(suffix: jax.Array, condition: jax.Array | None, step: jax.Array) -> jax.Array:
            del step
            tokens: Tokens = (None, suffix)
            ropes = (None, rope)
            if self.serving_steps:
                for layer, cache in zip(self.layers, caches, strict=True):
                    tokens, _ = layer(tokens, cache, ropes, ([], masks), condition)
            else:
                tokens, _ = self.stack(tokens, caches, ropes, ([], masks), condition, None)
            assert tokens[1] is not None
            return self.action_norm(tokens[1], condition)[0]

        return denoise

    def _denoise_by_kernels(
        self, suffix: jax.Array, caches: Any, tables: kernels.Tables, step: jax.Array
    ) -> jax.Array:
        batch, length, width = suffix.shape
        padded = jnp.pad(suffix, ((0, 0), (0, kernels.ROWS - length), (0, 0)))
        x = padded.reshape(-1, width).astype(jnp.float32)
        norms = [n for layer in self.layers for n in layer.action.modulations(step)]
        norms.append(self.action_norm.tables(step, width))
        normed = kernels.normalise(x, norms[0]).astype(self.dtype)
        for i, (layer, cache) in enumerate(zip(self.layers, caches, strict=True)):
            around = norms[2 * i : 2 * i + 3]
            x, normed = layer.action.denoise(x, normed, cache, tables, around)
        return normed.reshape(batch, kernels.ROWS, width)[:, :length]

    def _velocity(self, out: jax.Array) -> jax.Array:
        """From what the action expert's norm gives to the velocity of the flow, float32."""
        return self.action_out(out[:, -self.config.action_horizon :]).astype(jnp.float32)
