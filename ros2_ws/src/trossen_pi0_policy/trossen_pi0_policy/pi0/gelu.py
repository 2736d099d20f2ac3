"""GELU by its tanh form (arXiv 1606.08415), computed in float32."""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp

SCALE, CUBE = math.sqrt(2.0 / math.pi), 0.044715
EXPONENT = -2.0 * SCALE * math.log2(math.e)
"""With ``u`` as of ``gelu_and_slope``: ``exp(-2 u)`` is two to this times ``x + CUBE x^3``."""


@jax.custom_vjp
def gelu(x: jax.Array) -> jax.Array:
    """``x * sigmoid(2 u)`` with ``u`` as of ``gelu_and_slope``; in the type of ``x``."""
    x32 = x.astype(jnp.float32)
    return (x32 / (1.0 + jnp.exp(-2.0 * _argument(x32)))).astype(x.dtype)


def gelu_and_slope(x: jax.Array) -> tuple[jax.Array, jax.Array]:
    """``x (1 + tanh u) / 2`` with ``u = sqrt(2 / pi) (x + 0.044715 x^3)``, and its derivative.

    Both float32, of the shape of ``x``.
    """
    x32 = x.astype(jnp.float32)
    bend = jnp.tanh(_argument(x32))
    value = 0.5 * x32 * (1.0 + bend)
    slope = 0.5 * (1.0 + bend) + 0.5 * x32 * (1.0 - jnp.square(bend)) * _argument_slope(x32)
    return value, slope


def _backward(x: jax.Array, dy: jax.Array) -> tuple[jax.Array]:
    # By the tanh: if it were the exponential of the forward pass, which is often worked out again
    # beside it, the compiler would share that by way of memory.
    _, slope = gelu_and_slope(x)
    return ((dy.astype(jnp.float32) * slope).astype(x.dtype),)


gelu.defvjp(lambda x: (gelu(x), x), _backward)


def _argument(x: jax.Array) -> jax.Array:
    return SCALE * (x + CUBE * x**3)


def _argument_slope(x: jax.Array) -> jax.Array:
    return SCALE * (1.0 + 3.0 * CUBE * jnp.square(x))
