"""Products with an adapter beside the weight."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from trossen_pi0_policy.pi0.adapters import adapted_halves, adapted_product


def drawn(*shapes):
    keys = jax.random.split(jax.random.key(0), len(shapes))
    return [jax.random.normal(key, shape) for key, shape in zip(keys, shapes, strict=True)]


def plain(x, w, a, b):
    return x @ w + (x @ a) @ b


@pytest.mark.parametrize("outputs", [24, 8, 5])
def test_they_and_their_gradients_are_those_of_the_sum(outputs):
    parts = drawn((2, 6, 8), (8, outputs), (8, 3), (3, outputs))
    (weights,) = drawn((2, 6, outputs))
    values = []
    for product in (adapted_product, plain):
        found, pull = jax.vjp(product, *parts)
        values.append((found, *pull(weights)))
    assert float(abs(values[1][3]).max()) > 1
    for name, ours, theirs in zip(["y", *"xwab"], *values, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=2e-5, atol=2e-5, err_msg=name)


def test_gradients_of_adapters_stay_float32_beside_half_precision():
    x, w, a, b = drawn((6, 8), (8, 24), (8, 3), (3, 24))
    low = (x.astype(jnp.bfloat16), w.astype(jnp.bfloat16), a, b)
    found, pull = jax.vjp(adapted_product, *low)
    assert found.dtype == jnp.bfloat16
    assert [g.dtype for g in pull(jnp.ones_like(found))] == [
        jnp.bfloat16,
        jnp.bfloat16,
        jnp.float32,
        jnp.float32,
    ]
    np.testing.assert_allclose(found.astype(jnp.float32), plain(x, w, a, b), atol=0.2)


def test_halves_have_an_adapter_each():
    x, w, a, b = drawn((2, 6, 8), (8, 20), (2, 8, 3), (2, 3, 10))
    gate, up = adapted_halves(x, w, {"lora_a": a, "lora_b": b})
    np.testing.assert_allclose(gate, plain(x, w[:, :10], a[0], b[0]), rtol=2e-5, atol=2e-5)
    np.testing.assert_allclose(up, plain(x, w[:, 10:], a[1], b[1]), rtol=2e-5, atol=2e-5)
