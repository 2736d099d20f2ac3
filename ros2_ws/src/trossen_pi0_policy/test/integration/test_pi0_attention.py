"""Rotary positions, masks and attention, by literal numbers."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from trossen_pi0_policy.pi0 import attention
from trossen_pi0_policy.pi0.attention import MASKED, prefix_mask, suffix_mask

attend = jax.jit(attention.attend)
apply_rope = jax.jit(attention.apply_rope)
rope_tables = jax.jit(attention.rope_tables, static_argnames="head_dim")

LN3 = 1.0986123


def test_rope_tables():
    cos, sin = rope_tables(jnp.array([[0, 1, 100]]), head_dim=4)  # wavelengths 1 and 100 rad
    assert cos.dtype == sin.dtype == jnp.float32
    expected_cos = [[1.0, 1.0], [0.54030231, 0.99995], [0.86231887, 0.54030231]]
    expected_sin = [[0.0, 0.0], [0.84147098, 0.00999983], [-0.50636564, 0.84147098]]
    np.testing.assert_allclose(cos[0], expected_cos, atol=1e-6)
    np.testing.assert_allclose(sin[0], expected_sin, atol=1e-6)


def test_rope_turns_the_first_half_against_the_second():
    x = jnp.array([1.0, 2.0, 3.0, 4.0]).reshape(1, 1, 1, 4)
    turned = apply_rope(x, rope_tables(jnp.array([[1]]), head_dim=4))
    np.testing.assert_allclose(
        turned.ravel(), [-1.98411065, 1.95990067, 2.46237790, 4.01979967], rtol=1e-6
    )


def test_rope_turns_all_heads_of_a_token_alike_and_keeps_the_type():
    x = jnp.broadcast_to(jnp.array([1.0, 0.0], jnp.bfloat16), (1, 2, 3, 2))
    turned = apply_rope(x, rope_tables(jnp.array([[0, 2]]), head_dim=2))
    assert turned.dtype == jnp.bfloat16
    expected = np.array([[1.0, 0.0], [-0.41614684, 0.90929743]])
    for head in range(3):
        np.testing.assert_allclose(np.asarray(turned[0, :, head], np.float32), expected, atol=4e-3)


def test_rope_is_computed_in_float32():
    x = jnp.ones((1, 1, 1, 2), jnp.bfloat16)
    turned = apply_rope(x, rope_tables(jnp.array([[700]]), head_dim=2))
    expected = np.cos(700.0) - np.sin(700.0), np.cos(700.0) + np.sin(700.0)
    np.testing.assert_allclose(np.asarray(turned.ravel(), np.float32), expected, rtol=4e-3)


def everything(*shape):
    return jnp.ones(shape, bool)


def column(values):
    """One key or value head of width 1 for each value."""
    return jnp.array(values, jnp.float32).reshape(1, -1, 1, 1)


def test_attention_weighs_values_by_the_softmax():
    keys, values = column([0.0, LN3]), column([4.0, 8.0])
    out = attend(jnp.ones((1, 1, 2, 1)), [(keys, values, everything(1, 1, 2))])
    assert out.shape == (1, 1, 2)
    np.testing.assert_allclose(out.ravel(), [7.0, 7.0], rtol=1e-6)


def test_keys_in_several_arrays_count_as_joined():
    parts = [
        (column([0.0]), column([4.0]), everything(1, 1, 1)),
        (column([LN3, 0.0]), column([8.0, 100.0]), jnp.array([[[True, False]]])),
    ]
    out = attend(jnp.ones((1, 1, 2, 1)), parts)
    np.testing.assert_allclose(out.ravel(), [7.0, 7.0], rtol=1e-6)


def test_masks_are_for_each_query():
    keys, values = column([0.0, 0.0, 0.0]), column([1.0, 2.0, 6.0])
    mask = jnp.array([[[True, False, False], [True, True, False], [True, True, True]]])
    out = attend(jnp.ones((1, 3, 2, 1)), [(keys, values, mask)])
    np.testing.assert_allclose(out[0, :, 0], [1.0, 1.5, 3.0], rtol=1e-6)


def test_masks_are_for_each_row_of_the_batch():
    keys, values = jnp.zeros((2, 2, 1, 1)), jnp.array([1.0, 3.0] * 2).reshape(2, 2, 1, 1)
    mask = jnp.array([[[True, False]], [[False, True]]])
    out = attend(jnp.ones((2, 1, 2, 1)), [(keys, values, mask)])
    np.testing.assert_allclose(out[:, 0, 0], [1.0, 3.0], rtol=1e-6)


def test_neighbouring_query_heads_share_a_key_head():
    """The first key head weighs by the query, the second evenly."""
    keys = jnp.array([[0.0, 0.0], [LN3, 0.0]]).reshape(1, 2, 2, 1)
    values = jnp.array([[0.0, 0.0], [4.0, 80.0]]).reshape(1, 2, 2, 1)
    queries = jnp.array([0.0, 1.0, 2.0, 3.0]).reshape(1, 1, 4, 1)
    out = attend(queries, [(keys, values, everything(1, 1, 2))])
    np.testing.assert_allclose(out.ravel(), [2.0, 3.0, 40.0, 40.0], rtol=1e-6)


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_a_query_without_keys_stays_finite(dtype):
    keys, values = column([5.0, -5.0]).astype(dtype), column([1.0, 3.0]).astype(dtype)
    out = attend(jnp.ones((1, 1, 2, 1), dtype), [(keys, values, ~everything(1, 1, 2))])
    assert out.dtype == dtype
    np.testing.assert_allclose(np.asarray(out.ravel(), np.float32), [2.0, 2.0])


def test_logits_are_float32():
    """100 and 100.3, which bfloat16 rounds to 100.5."""
    keys = jnp.array([[100.0, 0.0], [100.0, 0.3]], jnp.bfloat16).reshape(1, 2, 1, 2)
    values = jnp.array([[0.0, 0.0], [1.0, 1.0]], jnp.bfloat16).reshape(1, 2, 1, 2)
    out = attend(jnp.ones((1, 1, 2, 2), jnp.bfloat16), [(keys, values, everything(1, 1, 2))])
    np.testing.assert_allclose(np.asarray(out.ravel(), np.float32), [0.5744] * 4, atol=4e-3)


def test_masked_logits_are_openpis():
    assert np.float32(MASKED) == np.float32(-2.3819763e38)
    assert np.isfinite(np.float32(MASKED))


def test_prefix_mask():
    found = prefix_mask(
        jnp.array([[True, False], [False, True]]),
        jnp.array([[True, True, False], [False, False, False]]),
        image_tokens=2,
    )
    assert found.dtype == bool
    assert found.astype(int).tolist() == [[1, 1, 0, 0, 1, 1, 0], [0, 0, 1, 1, 0, 0, 0]]


def test_the_state_sees_itself_and_actions_see_everything():
    found = suffix_mask(4, state_token=True)
    assert found.dtype == bool
    assert found.astype(int).tolist() == [[[1, 0, 0, 0], [1, 1, 1, 1], [1, 1, 1, 1], [1, 1, 1, 1]]]


def test_without_a_state_token_everything_is_seen():
    assert suffix_mask(2, state_token=False).tolist() == [[[True, True], [True, True]]]
