"""The picture tower, SigLIP (arXiv 2303.15343)."""

from __future__ import annotations

import math
from functools import partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.ad_checkpoint import checkpoint_name

from trossen_pi0_policy.pi0 import kernels
from trossen_pi0_policy.pi0.attention import FusedAttention
from trossen_pi0_policy.pi0.config import STEM_GROUP, VisionConfig
from trossen_pi0_policy.pi0.gelu import gelu
from trossen_pi0_policy.pi0.kernels import Passes

_xavier = nn.initializers.xavier_uniform()
_EPSILON = 1e-6
_LEAST_FUSED = 64  # fewer tokens gain nothing from a fused kernel


def _layer_norm(x: jax.Array, scale: jax.Array, bias: jax.Array) -> jax.Array:
    """Normalises the last axis in float32; in the type of ``x``."""
    x32 = x.astype(jnp.float32)
    mean = jnp.mean(x32, axis=-1, keepdims=True)
    variance = jnp.maximum(
        jnp.mean(jnp.square(x32), axis=-1, keepdims=True) - jnp.square(mean), 0.0
    )
    normed = (x32 - mean) * (jax.lax.rsqrt(variance + _EPSILON) * scale) + bias
    return normed.astype(x.dtype)


def _group_norm(x: jax.Array, scale: jax.Array, bias: jax.Array) -> jax.Array:
    """Normalises each group of channels of each picture.

    Args:
        x: shape (pictures, rows, columns, channels).
        scale: of the channels.
        bias: of the channels.
    """
    groups = x.reshape(*x.shape[:3], -1, STEM_GROUP)
    mean = jnp.mean(groups, axis=(1, 2, 4), keepdims=True)
    centred = groups - mean
    variance = jnp.mean(jnp.square(centred), axis=(1, 2, 4), keepdims=True)
    return (centred * jax.lax.rsqrt(variance + _EPSILON)).reshape(x.shape) * scale + bias


@jax.custom_vjp
def _thirds(x: jax.Array) -> tuple[jax.Array, ...]:
    """The last axis in three parts, whose gradients are joined but once."""
    return tuple(jnp.split(x, 3, axis=-1))


def _join(_: None, parts: tuple[jax.Array, ...]) -> tuple[jax.Array]:
    # Bias and both products read the whole; without the barrier each would join it anew.
    return (jax.lax.optimization_barrier(jnp.concatenate(parts, axis=-1)),)


_thirds.defvjp(lambda x: (_thirds(x), None), _join)


@partial(jax.custom_vjp, nondiff_argnums=(0,))
def gelu_product(passes: Passes, x: jax.Array, bias: jax.Array, kernel: jax.Array) -> jax.Array:
    """``gelu(x + bias) @ kernel`` by kernels that make a pass each, also of the gradient.

    Args:
        passes: which; not ``none``.
        x: shape (pictures, tokens, inputs).
        bias: shape (inputs,).
        kernel: shape (inputs, outputs).
    """
    return _gelu_product(passes, x, bias, kernel)[0]


def _gelu_product(
    passes: Passes, x: jax.Array, bias: jax.Array, kernel: jax.Array
) -> tuple[jax.Array, Any]:
    rows = x.reshape(-1, x.shape[-1])
    interpret = passes == "interpret"
    value = kernels.bias_gelu(rows, bias.astype(x.dtype), interpret=interpret)
    y = value @ kernel.astype(x.dtype)
    return y.reshape(*x.shape[:-1], -1), (x, bias, kernel)


def _gelu_product_backward(passes: Passes, saved: Any, dy: jax.Array) -> tuple[jax.Array, ...]:
    x, bias, kernel = saved
    rows, d_rows = (part.reshape(-1, part.shape[-1]) for part in (x, dy))
    d_value = d_rows @ kernel.astype(x.dtype).T
    given = d_value, rows, bias.astype(x.dtype)
    dx, value, d_bias = kernels.bias_gelu_gradient(*given, interpret=passes == "interpret")
    d_kernel = (value.T @ d_rows).astype(kernel.dtype)
    return dx.reshape(x.shape), d_bias.astype(bias.dtype), d_kernel


gelu_product.defvjp(_gelu_product, _gelu_product_backward)


class VisionBlock(nn.Module):
    """One layer.

    Attributes:
        config: sizes; ``mlp_dim`` may be padded with columns of zeros.
        cudnn: attend to many tokens by cuDNN's fused kernel, on GPUs, in half precision.
        passes: who makes the GELU in training.
    """

    config: VisionConfig
    cudnn: bool = False
    passes: Passes = "none"

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Tokens of all pictures, shape (pictures, tokens, width)."""
        c = self.config
        shapes = {
            "qkv": (c.width, 3 * c.width),
            "out": (c.width, c.width),
            "up": (c.width, c.mlp_dim),
            "down": (c.mlp_dim, c.width),
        }
        kernel = {name: self.param(name, _xavier, shape) for name, shape in shapes.items()}
        sizes = vector_sizes(c)
        vectors = self.param("vectors", _init_vectors(sizes), (sum(sizes.values()),))
        vector, begin = {}, 0
        for name, size in sizes.items():
            vector[name] = vectors[begin : begin + size]
            begin += size

        def dense(y: jax.Array, name: str) -> jax.Array:
            return y @ kernel[name].astype(y.dtype) + vector[f"{name}_bias"].astype(y.dtype)

        y = _layer_norm(x, vector["norm1_scale"], vector["norm1_bias"])
        qkv = checkpoint_name(dense(y, "qkv"), "vision_qkv")
        attended = self._attend(qkv)
        x = x + dense(attended, "out")
        y = _layer_norm(x, vector["norm2_scale"], vector["norm2_bias"])
        if self.passes != "none" and kernels.gelu_fits(y.size // c.width):
            product = checkpoint_name(y @ kernel["up"].astype(y.dtype), "vision_middle")
            made: Any = gelu_product(self.passes, product, vector["up_bias"], kernel["down"])
            return x + (made + vector["down_bias"].astype(x.dtype))
        middle = checkpoint_name(dense(y, "up"), "vision_middle")
        return x + dense(gelu(middle), "down")

    def _attend(self, qkv: jax.Array) -> jax.Array:
        shape = (*qkv.shape[:2], self.config.num_heads, -1)
        q, k, v = (part.reshape(shape) for part in _thirds(qkv))
        if self.cudnn and qkv.shape[1] >= _LEAST_FUSED:
            scale = q.shape[-1] ** -0.5
            return FusedAttention("cudnn", "vision_attended", scale)(q, k, v, None)
        attended = jax.nn.dot_product_attention(q, k, v, implementation="xla")
        attended = attended.reshape(*qkv.shape[:2], -1)
        return checkpoint_name(attended, "vision_attended")


def vector_sizes(config: VisionConfig) -> dict[str, int]:
    """Lengths of the biases and norm scales of a layer, in the order in which they are joined."""
    return {
        "norm1_scale": config.width,
        "norm1_bias": config.width,
        "qkv_bias": 3 * config.width,
        "out_bias": config.width,
        "norm2_scale": config.width,
        "norm2_bias": config.width,
        "up_bias": config.mlp_dim,
        "down_bias": config.width,
    }


def _init_vectors(sizes: dict[str, int]) -> nn.initializers.Initializer:
    def init(key: jax.Array, shape: Any, dtype: Any = jnp.float32) -> jax.Array:
        del key, shape
        parts = [
            (jnp.ones if name.endswith("_scale") else jnp.zeros)(size, dtype)
            for name, size in sizes.items()
        ]
        return jnp.concatenate(parts)

    return init


def _init_positions(n: int) -> nn.initializers.Initializer:
    """Sines and cosines of column and row of an n x n grid of patches (arXiv 2205.01580, 2.1).

    They are as large as the patches, so a tower that begins from scratch knows where things are
    from its first step; the small noise that they are learned from elsewhere drowns beside them.
    """

    def init(key: jax.Array, shape: Any, dtype: Any = jnp.float32) -> jax.Array:
        del key
        row, column = jnp.divmod(jnp.arange(n * n, dtype=jnp.float32), n)
        frequencies = 10_000.0 ** -jnp.linspace(0.0, 1.0, shape[1] // 4)
        angles = jnp.concatenate([jnp.outer(column, frequencies), jnp.outer(row, frequencies)], 1)
        return jnp.concatenate([jnp.sin(angles), jnp.cos(angles)], axis=1, dtype=dtype)

    return init


class VisionTower(nn.Module):
    """Pictures to tokens of the language expert.

    Attributes:
        config: sizes.
        image_size: edge of the pictures [pixels].
        features: width of the tokens.
        dtype: of the layers; stem, patches and positions are float32.
        stacked: the layers' parameters are stacked and run in a loop, else they stand alone.
        cudnn: see ``VisionBlock``.
        kept: names of the activations of stacked layers that are kept for the backward pass.
        passes: see ``VisionBlock``, of stacked layers.
    """

    config: VisionConfig
    image_size: int
    features: int
    dtype: Any
    stacked: bool
    cudnn: bool = False
    kept: tuple[str, ...] = ()
    passes: Passes = "none"

    @nn.compact
    def __call__(self, images: jax.Array) -> jax.Array:
        """Encodes.

        Args:
            images: float32 in [-1, 1], shape (pictures, image_size, image_size, 3).

        Returns:
            shape (pictures, tokens, features).
        """
        c, patch = self.config, self.config.patch_shape
        n, values = self.image_size // c.patch_size, math.prod(patch)
        x = images
        for i, shape in enumerate(c.stem_kernels):
            x = gelu(self._convolve(x, f"stem_{i}", shape))
        patches = x.reshape(-1, n, patch[0], n, *patch[1:]).transpose(0, 1, 3, 2, 4, 5)
        kernel = self.param("patch_kernel", nn.initializers.lecun_normal(), (values, c.width))
        bias = self.param("patch_bias", nn.initializers.zeros, (c.width,))
        positions = self.param("positions", _init_positions(n), (n * n, c.width))
        x = patches.reshape(-1, n * n, values) @ kernel.astype(jnp.float32) + bias
        x = (x + positions).astype(self.dtype)
        if self.stacked:
            policy = jax.checkpoint_policies.save_only_these_names(*self.kept)
            block = nn.remat(VisionBlock, prevent_cse=False, policy=policy)
            scanned = nn.scan(
                lambda module, carry, _: (module(carry), None),
                variable_axes={"params": 0},
                split_rngs={"params": True},
                length=c.depth,
            )
            x, _ = scanned(block(c, self.cudnn, self.passes, name="blocks"), x, None)
        else:
            for layer in range(c.depth):
                x = VisionBlock(c, self.cudnn, name=f"block_{layer}")(x)
        scale = self.param("norm_scale", nn.initializers.ones, (c.width,))
        x = _layer_norm(x, scale, self.param("norm_bias", nn.initializers.zeros, (c.width,)))
        head = self.param("head_kernel", nn.initializers.lecun_normal(), (c.width, self.features))
        head_bias = self.param("head_bias", nn.initializers.zeros, (self.features,))
        return x @ head.astype(x.dtype) + head_bias.astype(x.dtype)

    def _convolve(self, x: jax.Array, name: str, shape: tuple[int, int, int, int]) -> jax.Array:
        kernel = self.param(f"{name}_kernel", nn.initializers.lecun_normal(), shape)
        scale = self.param(f"{name}_scale", nn.initializers.ones, shape[-1:])
        bias = self.param(f"{name}_bias", nn.initializers.zeros, shape[-1:])
        layout = ("NHWC", "HWIO", "NHWC")
        x = jax.lax.conv_general_dilated(
            x, kernel.astype(jnp.float32), (2, 2), "SAME", dimension_numbers=layout
        )
        return _group_norm(x, scale, bias)
