"""Frozen weights with their adapters inside."""

from dataclasses import replace
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax.traverse_util import flatten_dict

from trossen_pi0_policy.pi0.config import LoraConfig, get_config
from trossen_pi0_policy.pi0.gelu import gelu
from trossen_pi0_policy.pi0.parameters import random_parameters
from trossen_pi0_policy.pi0.widened import fill, narrow, widen
from trossen_pi0_policy.pi0.widened_steps import adapted, feed_forward, with_inner, without_inner


def drawn(*shapes):
    keys = jax.random.split(jax.random.key(0), len(shapes))
    return [jax.random.normal(key, shape) for key, shape in zip(keys, shapes, strict=True)]


def close(found, wanted):
    np.testing.assert_allclose(found, wanted, rtol=3e-5, atol=3e-5)


@pytest.mark.parametrize("outputs", [24, 8, 5])
def test_a_product_and_its_gradients_are_those_of_the_sum(outputs):
    x, w, a, b, weights = drawn((2, 6, 8), (8, outputs), (8, 3), (3, outputs), (2, 6, outputs))
    wide = jnp.concatenate([w, b] if outputs >= 8 else [w, a], axis=0 if outputs >= 8 else 1)

    def ours(x, a, b):
        return adapted("none", x, wide, a, b)

    def plain(x, a, b):
        return x @ w + (x @ a) @ b

    values = []
    for product in (ours, plain):
        y, pull = jax.vjp(product, x, a, b)
        values.append((y, *pull(weights)))
    for found, wanted in zip(*values, strict=True):
        close(found, wanted)


def test_a_feed_forward_layer_and_its_gradients_are_those_of_its_parts():
    x, w, a, b = drawn((2, 6, 8), (2, 8, 20), (2, 8, 3), (2, 3, 20))
    down, down_a, down_b, weights = drawn((20, 8), (20, 3), (3, 8), (2, 6, 8))
    zero = jnp.zeros_like(b[0])
    gate = jnp.concatenate([w[0], b[0], zero])
    up = jnp.concatenate([w[1], zero, b[1]])

    def ours(x, a, b, down_a, down_b):
        wide = jnp.concatenate([down, jax.lax.stop_gradient(down_a)], axis=1)
        side_by_side = jnp.concatenate([a[0], a[1]], axis=1)
        inputs: Any = with_inner("none", x, side_by_side)
        both = feed_forward("none", "middle", *inputs, (gate, up, b), (wide, down_a))
        return without_inner("none", both, down_b)

    def plain(x, a, b, down_a, down_b):
        g, u = (x @ w[i] + (x @ a[i]) @ b[i] for i in (0, 1))
        hidden = nn.gelu(g) * u
        return hidden @ down + (hidden @ down_a) @ down_b

    values = []
    for layer in (ours, plain):
        y, pull = jax.vjp(layer, x, a, b, down_a, down_b)
        values.append((y, *pull(weights)))
    for found, wanted in zip(*values, strict=True):
        np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-3)


def test_leaves_come_back_as_they_were():
    config, lora = get_config("tiny"), LoraConfig(rank=2, alpha=2.0)
    changed = {name: replace(getattr(config, name), lora=lora) for name in ("language", "action")}
    config = replace(config, **changed)
    flat: Any = flatten_dict(random_parameters(config, 1, np.float32), sep="/")
    wide: dict[str, Any] = {}
    for path, leaf in flat.items():
        wide |= widen(path, leaf, config)
    filled = fill(wide, flat, config)
    path = "layers/language/down/kernel/0"
    np.testing.assert_array_equal(filled[path][:, -2:], flat["layers/language/down/lora_a"][0])
    back = narrow(filled, config)
    assert back.keys() == flat.keys()
    for name, leaf in flat.items():
        np.testing.assert_array_equal(back[name], leaf, err_msg=name)


def test_gelu_is_flax_s_where_it_is_steep_and_far_out():
    x = jnp.concatenate([jnp.linspace(-8.0, 8.0, 2001), jnp.array([-1e4, 1e4])])
    close(gelu(x), nn.gelu(x))
    close(jax.vmap(jax.grad(gelu))(x), jax.vmap(jax.grad(nn.gelu))(x))
