"""What is kept for the backward pass changes its memory and time, not the gradients."""

from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax.traverse_util import flatten_dict, unflatten_dict

from trossen_pi0_policy.pi0.config import LoraConfig, get_config
from trossen_pi0_policy.pi0.model import Pi0
from trossen_pi0_policy.pi0.parameters import example_batch, random_parameters
from trossen_pi0_policy.pi0.stack import KEPT_ACTIVATIONS
from trossen_pi0_policy.pi0.widened import fill, widen

pytestmark = pytest.mark.timeout(300)  # the compiler takes most of it


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


@pytest.fixture(scope="module")
def programs():
    config = with_lora()
    batch, zeros = example_batch(config, 2)
    image_mask = jnp.array([[True, False, True], [False, True, True]])
    token_mask = jnp.arange(config.max_token_len) < jnp.array([[3], [config.max_token_len]])
    batch = replace(batch, image_mask=image_mask, token_mask=token_mask)
    keys = jax.random.split(jax.random.key(0), 2)
    actions, noise = (jax.random.normal(key, zeros.shape) for key in keys)
    time = np.array([0.3, 0.8], np.float32)
    tree = jax.tree.map(lambda p: 5.0 * p, random_parameters(config, 1, np.float32))

    def compiled(**ways):
        model = Pi0(config, **ways)

        def loss(tree):
            if "kept_layers" in ways:
                tree = widened(tree, config)
            errors: Any = model.apply(
                {"params": tree}, batch, actions, noise, time, method=Pi0.loss
            )
            return jnp.mean(errors)

        quick: Any = {"xla_backend_optimization_level": 0}
        return jax.jit(jax.value_and_grad(loss)).lower(tree).compile(quick)

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
