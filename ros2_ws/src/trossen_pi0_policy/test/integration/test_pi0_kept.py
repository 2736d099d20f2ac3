"""What is kept for the backward pass changes its memory and time, not the gradients."""

from collections import Counter
from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax.traverse_util import flatten_dict, unflatten_dict

from trossen_pi0_policy.pi0 import kernels
from trossen_pi0_policy.pi0.config import LoraConfig, get_config
from trossen_pi0_policy.pi0.model import Pi0
from trossen_pi0_policy.pi0.parameters import example_batch, random_parameters
from trossen_pi0_policy.pi0.stack import KEPT_ACTIVATIONS
from trossen_pi0_policy.pi0.widened import fill, widen

pytestmark = pytest.mark.timeout(300)  # the compiler takes most of it

kernels_only = pytest.mark.skipif(
    not kernels.available(), reason="Pallas for Triton has no masked loads in this JAX"
)


def with_lora():
    config, lora = get_config("tiny"), LoraConfig(rank=2, alpha=2.0)
    return replace(
        config,
        language=replace(config.language, lora=lora),
        action=replace(config.action, lora=lora),
    )


def widened(tree, config):
    flat: Any = flatten_dict(tree, sep="/")
    wide: dict[str, Any] = {}
    for path, leaf in flat.items():
        wide |= widen(path, leaf, config)
    return unflatten_dict(fill(wide, flat, config), sep="/")


def losses(config):
    """Trees, and the loss as a function of one by what the model is made with."""
    batch, zeros = example_batch(config, 2)
    image_mask = jnp.array([[True, False, True], [False, True, True]])
    token_mask = jnp.arange(config.max_token_len) < jnp.array([[3], [config.max_token_len]])
    batch = replace(batch, image_mask=image_mask, token_mask=token_mask)
    keys = jax.random.split(jax.random.key(0), 2)
    actions, noise = (jax.random.normal(key, zeros.shape) for key in keys)
    time = np.array([0.3, 0.8], np.float32)
    tree = jax.tree.map(lambda p: 5.0 * p, random_parameters(config, 1, np.float32))

    def of(**ways):
        model = Pi0(config, **ways)

        def loss(tree):
            if "kept_layers" in ways:
                tree = widened(tree, config)
            errors: Any = model.apply(
                {"params": tree}, batch, actions, noise, time, method=Pi0.loss
            )
            return jnp.mean(errors)

        return loss

    return tree, of


@pytest.fixture(scope="module")
def programs():
    tree, of = losses(with_lora())

    def compiled(**ways):
        quick: Any = {"xla_backend_optimization_level": 0}
        return jax.jit(jax.value_and_grad(of(**ways))).lower(tree).compile(quick)

    found = {kept: compiled(kept=kept) for kept in KEPT_ACTIVATIONS}
    for kept in ("none", "some"):
        found[f"by layer, {kept}"] = compiled(kept=kept, kept_layers=1, fused="xla")
    return found, tree


def test_the_gradients_are_the_same(programs):
    compiled, tree = programs
    results = {kept: program(tree) for kept, program in compiled.items()}
    loss, gradients = results["none"]
    assert np.isfinite(loss)
    assert max(float(abs(leaf).max()) for leaf in jax.tree.leaves(gradients)) > 1e-4
    plain: Any = flatten_dict(gradients, sep="/")
    for way, (other, found) in results.items():
        assert float(other) == pytest.approx(float(loss), rel=1e-5), way
        leaves: Any = flatten_dict(found, sep="/")
        for path, leaf in leaves.items():
            if way.startswith("by layer") and _is_frozen(path):
                continue
            np.testing.assert_allclose(leaf, plain[path], rtol=1e-4, atol=1e-6, err_msg=path)


def _is_frozen(path):
    return path.startswith("layers/") and "lora" not in path


def test_what_is_kept_is_not_worked_out_again(programs):
    work = {kept: program.cost_analysis()["flops"] for kept, program in programs[0].items()}
    assert work["all"] < work["some"] < work["none"]


@pytest.fixture(scope="module")
def passes():
    """Of a model that the kernels fit: trees, and its loss."""
    config, lora = with_lora(), LoraConfig(rank=16, alpha=16.0)
    sizes: dict[str, Any] = {"num_heads": 2, "head_dim": 128, "lora": lora}
    language = replace(config.language, width=256, mlp_dim=512, **sizes)
    return losses(replace(config, language=language, action=replace(config.action, **sizes)))


@kernels_only
def test_the_gradients_are_the_same_by_kernels(passes):
    tree, of = passes
    ways: Any = {"kept": "some", "kept_layers": 1, "fused": "xla"}
    results = []
    for by in ("none", "interpret"):
        with jax.default_matmul_precision("highest"):
            results.append(jax.jit(jax.value_and_grad(of(**ways, passes=by)))(tree))
    (loss, plain), (other, found) = results
    assert float(other) == pytest.approx(float(loss), rel=1e-5)
    both: Any = [flatten_dict(gradients, sep="/") for gradients in (found, plain)]
    leaves, expected = both
    for path, leaf in leaves.items():
        if not _is_frozen(path):
            largest = float(jnp.abs(expected[path]).max())
            np.testing.assert_allclose(
                leaf, expected[path], rtol=1e-3, atol=1e-4 * largest, err_msg=path
            )


def kernels_needed(jaxpr):
    """Names of the kernels whose results somebody needs; the compiler leaves the others out."""
    needed = {id(x) for x in jaxpr.outvars}
    for equation in reversed(jaxpr.eqns):
        if not any(id(x) in needed for x in equation.outvars):
            continue
        needed |= {id(x) for x in equation.invars}
        if equation.primitive.name == "pallas_call":
            yield equation.params["name"]
        elif equation.primitive.name == "remat2":
            yield from kernels_needed(equation.params["jaxpr"])


@kernels_only
def test_no_kernel_runs_twice_where_all_is_kept(passes):
    tree, of = passes
    loss = of(kept="all", kept_layers=1, fused="xla", passes="interpret")
    counts = Counter(kernels_needed(jax.make_jaxpr(jax.grad(loss))(tree).jaxpr))
    # Norms and rotations of two layers, of the last one those before the attention alone.
    expected = {
        "norm_gradient_measure": 3,
        "norm_gradient": 3,
        "narrow": 2,
        "rotate_back": 2,
    }
    assert {name: counts[name] for name in expected} == expected
