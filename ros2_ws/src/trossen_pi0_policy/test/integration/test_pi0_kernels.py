"""The fused kernels, interpreted, against the same in plain JAX; and their lowering for GPUs."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from peers.parameter_recipe import seeded_uniform
from trossen_pi0_policy.pi0 import kernels
from trossen_pi0_policy.pi0.attention import MASKED, apply_rope, attend, rope_tables, suffix_mask
from trossen_pi0_policy.pi0.config import ExpertConfig, get_config
from trossen_pi0_policy.pi0.kernels import ROWS, Modulation
from trossen_pi0_policy.pi0.model import PrefixBatch
from trossen_pi0_policy.pi0.packing import pack, serving_model
from trossen_pi0_policy.pi0.parameters import example_batch, from_openpi, openpi_shapes

pytestmark = pytest.mark.usefixtures("precise")


@pytest.fixture
def precise():
    with jax.default_matmul_precision("highest"):
        yield


@dataclass(frozen=True)
class Size:
    """Sizes that fit; ``prefix`` and ``suffix`` in tokens."""

    expert: ExpertConfig
    prefix: int
    suffix: int
    batch: int


SMALL = Size(ExpertConfig(64, 1, 512, num_heads=16, head_dim=32), prefix=10, suffix=6, batch=2)
LONG = Size(ExpertConfig(128, 1, 1024, num_heads=8, head_dim=64), prefix=150, suffix=51, batch=1)
needs_masked_loads = pytest.mark.skipif(
    not kernels.available(), reason="Pallas for Triton has no masked loads in this JAX"
)
SIZES = pytest.mark.parametrize("size", [SMALL, LONG], ids=["small", "long"])


def random(name: str, *shape: int, spread: float = 1.0) -> jax.Array:
    return jnp.asarray(seeded_uniform(9, name, shape) * np.float32(spread))


def weight(name: str, inputs: int, outputs: int) -> jax.Array:
    return random(name, inputs, outputs, spread=inputs**-0.5)


def masks(size: Size) -> tuple[jax.Array, jax.Array]:
    """Prefix tokens that are there, some missing in the middle, and the suffix' own mask."""
    index = np.arange(size.prefix)
    valid = np.stack(
        [(index % (3 + row) != 1) & (index < size.prefix - 2) for row in range(size.batch)]
    )
    return jnp.asarray(valid), suffix_mask(size.suffix, state_token=True)


def make_tables(size: Size) -> tuple[kernels.Tables, tuple[jax.Array, jax.Array]]:
    valid, own = masks(size)
    positions = jnp.sum(valid, axis=1)[:, None] + jnp.arange(size.suffix)[None]
    rope = rope_tables(positions, size.expert.head_dim)
    return kernels.make_tables(*rope, valid, own[0], interpret=True), rope


def modulation(name: str, width: int) -> Modulation:
    return Modulation(*(random(f"{name} {part}", width, spread=0.3) for part in ("a", "b", "c")))


def near(found, expected, tolerance=2e-6):
    assert found.dtype == expected.dtype
    assert np.abs(expected).max() > 0.1
    gap = np.abs(np.asarray(found, np.float64) - np.asarray(expected, np.float64)).max()
    assert gap <= tolerance * np.abs(expected).max()


def tokens(x: jax.Array, size: Size) -> jax.Array:
    """Padded rows to (batch, suffix, columns), the padding cut off."""
    return x.reshape(size.batch, ROWS, -1)[:, : size.suffix]


def fast(compute: Callable[..., Any], *arrays: jax.Array) -> Any:
    """Compiled with little optimisation, which is what takes the time here."""
    return jax.jit(compute, compiler_options={"xla_backend_optimization_level": 0})(*arrays)


@SIZES
def test_projection_and_rotation(size):
    c = size.expert

    def both(x, w):
        tables, rope = make_tables(size)
        found = kernels.project_rope(x, w, tables, heads=c.num_heads, kv_heads=1)
        heads = (tokens(x, size) @ w).reshape(size.batch, size.suffix, -1, c.head_dim)
        q, k, v = jnp.split(heads, [c.num_heads, c.num_heads + 1], axis=2)
        rotated = [apply_rope(q, rope) * c.head_dim**-0.5, apply_rope(k, rope), v]
        joined = jnp.concatenate(rotated, axis=2)
        return tokens(found, size), joined.reshape(size.batch, size.suffix, -1)

    found, expected = fast(
        both, random("x", size.batch * ROWS, c.width), weight("qkv", c.width, c.qkv_dim)
    )
    near(found, expected)
    keys = slice(c.num_heads * c.head_dim, (c.num_heads + 1) * c.head_dim)
    near(found[..., : keys.start], expected[..., : keys.start])  # scaled, so smaller


@needs_masked_loads
@SIZES
def test_attention_over_cache_and_suffix(size):
    c = size.expert

    def both(qkv, keys, values):
        tables, _ = make_tables(size)
        valid, own = masks(size)
        found = kernels.attend_cached(qkv, keys, values, tables, heads=c.num_heads)
        heads = tokens(qkv, size).reshape(size.batch, size.suffix, -1, c.head_dim)
        q, k, v = jnp.split(heads, [c.num_heads, c.num_heads + 1], axis=2)
        cache = keys[:, :, None], values[:, :, None], valid[:, None]
        return found, attend(q, [cache, (k, v, own)])

    found, expected = fast(
        both,
        random("qkv", size.batch * ROWS, c.qkv_dim, spread=0.5),
        *(random(name, size.batch, size.prefix, c.head_dim) for name in ("keys", "values")),
    )
    near(tokens(found, size), expected, tolerance=1e-5)
    assert np.isfinite(found).all()


@needs_masked_loads
def test_attention_without_a_prefix_token_sees_the_suffix():
    c = SMALL.expert

    def compute(qkv, keys, values):
        valid, own = masks(SMALL)
        half = jnp.zeros((2, SMALL.suffix, c.head_dim // 2))
        tables = kernels.make_tables(half, half, jnp.zeros_like(valid), own[0], interpret=True)
        return kernels.attend_cached(qkv, keys, values, tables, heads=c.num_heads)

    qkv = random("qkv", 2 * ROWS, c.qkv_dim)
    cache = (random(name, 2, SMALL.prefix, c.head_dim) for name in ("keys", "values"))
    found = fast(compute, qkv, *cache)
    state = tokens(qkv, SMALL)[:, 0, -c.head_dim :]  # sees itself alone
    near(tokens(found, SMALL)[:, 0], jnp.tile(state, (1, c.num_heads)))


@needs_masked_loads
@SIZES
def test_attention_of_the_prefix_to_itself(size):
    c = size.expert

    def both(q, k, v):
        valid, _ = masks(size)
        bias = jnp.where(valid, 0.0, MASKED)
        found = kernels.attend_prefix(q, k[:, :, 0], v[:, :, 0], bias, interpret=True)
        return found, attend(q, [(k, v, valid[:, None])])

    shape = size.batch, size.prefix
    q = random("q", *shape, c.num_heads, c.head_dim, spread=0.2)
    near(*fast(both, q, *(random(name, *shape, 1, c.head_dim) for name in ("k", "v"))))


@SIZES
def test_feed_forward_layer(size):
    c = size.expert

    def both(x, gate_up, down):
        tables, _ = make_tables(size)
        hidden = kernels.project_geglu(x, gate_up, tables)
        gate, up = jnp.split(x @ gate_up, 2, axis=1)
        parts = kernels.project_parts(hidden, down, tables)
        return hidden, jax.nn.gelu(gate) * up, parts.sum(axis=0), hidden @ down

    x = random("x", size.batch * ROWS, c.width)
    weights = weight("up", c.width, 2 * c.mlp_dim), weight("down", c.mlp_dim, c.width)
    hidden, expected, out, expected_out = fast(both, x, *weights)
    near(hidden, expected)
    near(out, expected_out)


def plain_norm(x: jax.Array, behind: Modulation) -> jax.Array:
    normed = x / jnp.sqrt(jnp.mean(x * x, axis=1, keepdims=True) + 1e-6) * (1 + behind.scale)
    return normed if behind.shift is None else normed + behind.shift


@pytest.mark.parametrize(("gated", "adaptive"), [(False, False), (False, True), (True, True)])
def test_residual_and_norm(gated, adaptive):
    width = 64

    def both(x, parts):
        tables, _ = make_tables(SMALL)
        branch, behind = modulation("branch", width), modulation("behind", width)
        if not gated:
            branch = Modulation(branch.scale)
        if not adaptive:
            behind = Modulation(behind.scale)
        found = kernels.add_normalise(x, parts, tables, branch, behind, jnp.float32)
        total = x + parts.sum(axis=0) * (1.0 if branch.gate is None else branch.gate)
        return *found, total, plain_norm(total, behind), kernels.normalise(total, behind)

    found, normed, total, expected, plain = fast(
        both, random("x", ROWS, width), random("parts", 3, ROWS, width)
    )
    near(found, total)
    near(normed, expected)
    near(plain, expected)


def test_half_precision():
    """The residual stream stays float32, its normalised rows and all else are bfloat16."""
    c = SMALL.expert

    def both(x, w, parts):
        tables, _ = make_tables(SMALL)
        x_half, w_half = x.astype(jnp.bfloat16), w.astype(jnp.bfloat16)
        found, exact = (
            kernels.project_rope(
                x_half.astype(dtype), w_half.astype(dtype), tables, heads=c.num_heads, kv_heads=1
            )
            for dtype in (jnp.bfloat16, jnp.float32)
        )
        norm = modulation("norm", c.width)
        return found, exact, kernels.add_normalise(x, parts, tables, norm, norm, jnp.bfloat16)

    found, exact, (total, normed) = fast(
        both,
        random("x", 2 * ROWS, c.width),
        weight("qkv", c.width, c.qkv_dim),
        random("parts", 2, 2 * ROWS, c.width),
    )
    assert (found.dtype, total.dtype, normed.dtype) == (jnp.bfloat16, jnp.float32, jnp.bfloat16)
    near(found.astype(jnp.float32), exact, tolerance=8e-3)


@pytest.mark.parametrize(
    ("change", "suffix"),
    [
        ({"num_kv_heads": 2}, 51),
        ({"head_dim": 16, "num_heads": 32}, 51),
        ({"head_dim": 96}, 51),
        ({"width": 96}, 51),
        ({"width": 32}, 51),
        ({"mlp_dim": 500}, 51),
        ({"num_heads": 2}, 51),
        ({}, 65),
    ],
)
def test_sizes_that_do_not_fit(change, suffix):
    assert kernels.fits(LONG.expert, 51)
    assert kernels.fits(SMALL.expert, 64)
    assert not kernels.fits(replace(LONG.expert, **change), suffix)


def test_which_presets_fit():
    fitting = [
        name
        for name in ("pi0", "pi05", "pi0_lora", "pi05_lora", "dummy", "tiny", "sim")
        if kernels.fits(get_config(name).action, get_config(name).suffix_len)
    ]
    assert fitting == ["pi0", "pi05", "pi0_lora", "pi05_lora"]


def some_gpu():
    """Newer JAX wants to know which GPU it lowers for where there is none."""
    if not hasattr(jax.sharding, "AbstractDevice"):
        return contextlib.nullcontext()
    device = jax.sharding.AbstractDevice("NVIDIA H100 80GB HBM3", num_cores=132, platform="gpu")
    mesh = jax.sharding.AbstractMesh((1,), ("x",), abstract_device=device)
    return jax.sharding.use_abstract_mesh(mesh)


@needs_masked_loads
@pytest.mark.filterwarnings("ignore:The Pallas Triton backend is deprecated:DeprecationWarning")
@pytest.mark.parametrize(
    ("name", "batch", "method", "denoised_by_kernels"),
    [
        ("pi0", 1, "sample", True),
        ("pi05", 2, "sample", True),
        ("pi0", 1, "sample_conditioned", True),
        ("pi05", 2, "sample_conditioned", False),  # whose norms differ from row to row
        ("pi0", 2, "sample_guided", False),  # which needs a gradient
        ("pi05", 1, "sample_guided", False),
    ],
)
def test_real_sizes_lower_for_gpus(name, batch, method, denoised_by_kernels):
    """Two layers of each tower at full width; nothing is allocated or run.

    Of the last layer's prefill only keys and values are wanted, so one layer has no attention.
    """
    full = get_config(name)
    parts = ("vision", "language", "action")
    config = replace(full, **{part: replace(getattr(full, part), depth=2) for part in parts})

    def prepare():
        given = {p: jnp.zeros(s, jnp.bfloat16) for p, s in openpi_shapes(config).items()}
        tree = from_openpi(given, config)
        return pack(tree, config, steps=10, dtype=jnp.bfloat16, align=True)

    packed = jax.eval_shape(prepare)
    observations, noise = jax.eval_shape(lambda: example_batch(config, batch))
    rows, dims = jnp.zeros(batch, jnp.int32), jnp.zeros((batch, config.action_dim), bool)
    prefix = (PrefixBatch(noise, rows, rows, dims),) if method != "sample" else ()
    weight = (5.0,) if method == "sample_guided" else ()
    model = serving_model(config, steps=10, dtype=jnp.bfloat16, align=True, kernels="triton")

    @jax.jit
    def sample(tree, *given):
        return model.apply({"params": tree}, *given, *weight, method=method)

    with some_gpu():
        traced = sample.trace(packed, observations, noise, *prefix)
        lowered = traced.lower(lowering_platforms=("cuda",))
    text = lowered.as_text()
    denoising = ("project_rope", "attend_cached", "join_splits", "project_geglu", "add_normalise")
    for kernel in ("attend_prefix", *denoising):
        found = f'"{kernel}"' in text or f'name = "{kernel}' in text
        assert found == (kernel == "attend_prefix" or denoised_by_kernels), kernel
