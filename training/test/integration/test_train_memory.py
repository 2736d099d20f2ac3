"""Memory that beginning and resuming a training take."""

from __future__ import annotations

from typing import Any

import jax
import numpy as np
from flax.traverse_util import unflatten_dict

from fixtures.training import debug_config
from trossen_pi0_policy.pi0.config import get_config
from trossen_pi0_policy.pi0.parameters import leaves, to_openpi
from trossen_pi0_training.fit.mesh import make_mesh
from trossen_pi0_training.fit.state import create_state, state_maker, state_shapes
from trossen_pi0_training.run.joining import joined_leaves


def size(tree):
    return sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(tree))


def test_given_leaves_become_the_state_without_a_copy(tmp_path):
    config = debug_config(tmp_path, freeze="vision", dtype="bfloat16")
    mesh = make_mesh(config)
    shapes = state_shapes(config, mesh)
    given = {**shapes.trainable, **shapes.frozen}
    assert shapes.frozen
    key = jax.random.key(0)
    maker: Any = state_maker(config, shapes)
    memory = maker.lower(key, given).compile().memory_analysis()
    assert memory.alias_size_in_bytes == size(given)
    assert memory.temp_size_in_bytes < 0.1 * size(shapes)
    rng = np.random.default_rng(0)
    host = {path: rng.normal(size=leaf.shape).astype(leaf.dtype) for path, leaf in given.items()}
    before = {path: leaf.copy() for path, leaf in host.items()}
    state = create_state(config, mesh, host)
    for path, leaf in before.items():
        np.testing.assert_array_equal({**state.trainable, **state.frozen}[path], leaf)
        np.testing.assert_array_equal(host[path], leaf)


def test_one_leaf_at_a_time_is_joined():
    model = get_config("tiny")
    ours = {
        leaf.path: jax.random.normal(jax.random.key(i), leaf.shape)
        for i, leaf in enumerate(leaves(model))
    }
    places = {path: leaf.sharding for path, leaf in ours.items()}
    parts = {
        path: jax.device_put(np.asarray(part))
        for path, part in to_openpi(unflatten_dict(ours, sep="/"), model).items()
    }
    wanted = {path: np.asarray(leaf).copy() for path, leaf in ours.items()}
    whole, largest = size(parts), max(leaf.nbytes for leaf in wanted.values())
    del ours
    before = sum(array.nbytes for array in jax.live_arrays())
    found, most = {}, 0
    for path, joined in joined_leaves(parts, model, places):
        found[path] = joined
        most = max(most, sum(array.nbytes for array in jax.live_arrays()))
    assert not parts
    assert most - before <= largest < 0.5 * whole
    for path, values in wanted.items():
        np.testing.assert_array_equal(found[path], values)
