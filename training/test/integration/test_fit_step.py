"""One optimizer step: what it changes, how, and what it leaves alone."""

from __future__ import annotations

import functools
import itertools
from dataclasses import replace
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fixtures.training import debug_config
from trossen_pi0_policy.pi0 import config as models
from trossen_pi0_policy.pi0.model import Pi0
from trossen_pi0_training.config import model as config_model
from trossen_pi0_training.config.fields import OptimizerConfig
from trossen_pi0_training.errors import TrainingError
from trossen_pi0_training.feed.loader import Loader, Source
from trossen_pi0_training.feed.synthetic import synthetic_stats
from trossen_pi0_training.fit.augment import augment
from trossen_pi0_training.fit.batch import shard_batch
from trossen_pi0_training.fit.draws import draw
from trossen_pi0_training.fit.mesh import make_mesh
from trossen_pi0_training.fit.optimizer import learning_rate
from trossen_pi0_training.fit.plan import Plan, make_plan, parse_plan
from trossen_pi0_training.fit.state import create_state, step_key
from trossen_pi0_training.fit.step import make_train_step
from trossen_pi0_training.run.checkpoints import Assets, RunCheckpoints

LORA = models.LoraConfig(rank=2, alpha=4.0)
GOLDENS = Path(__file__).parents[1] / "data" / "openpi_augment.npz"
"""Written by ``peers.make_augment_goldens``."""


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    return tmp_path_factory.mktemp("fit")


@pytest.fixture(scope="module")
def lora_preset():
    """A preset ``tiny_lora`` for as long as the tests run."""
    tiny = models.get_config("tiny")
    changed = {name: replace(getattr(tiny, name), lora=LORA) for name in ("language", "action")}
    presets: dict[str, Any] = models._PRESETS
    presets["tiny_lora"] = replace(tiny, **changed)
    yield "tiny_lora"
    del presets["tiny_lora"]


def plain(home, **changes):
    return debug_config(home, **{"augment": "none", "batch_size": 4, "ema_decay": 0.75, **changes})


def host_batches(config, count):
    with Loader(Source(config, synthetic_stats(14), "train", (0, config.batch_size))) as loader:
        return list(itertools.islice(loader, count))


@functools.cache
def programs(config, plan):
    mesh = make_mesh(config)
    return mesh, jax.device_get(create_state(config, mesh)), make_train_step(config, mesh, plan)


def run(config, count=1, plan=None, batches=None):
    mesh, before, step = programs(config, plan or Plan(config.batch_size, "none"))
    state = jax.tree.map(jnp.array, before)
    found = []
    for host in batches or host_batches(config, count):
        state, metrics = step(state, shard_batch(mesh, host))
        found.append(jax.device_get(metrics))
    return before, jax.device_get(state), found


def changed(before, after):
    return {path for path in before if not np.array_equal(before[path], after[path])}


def test_lora_changes_what_it_should_and_nothing_else(home, lora_preset):
    config = plain(home, model=lora_preset, ema_decay=None, dtype="bfloat16")
    before, after, _ = run(config, 2)
    old, new = (
        {p: s.leaves()[p] for p in s.leaves() if p not in s.trainable} for s in (before, after)
    )
    assert not changed(old, new)
    assert {leaf.dtype for leaf in map(np.asarray, after.frozen.values())} == {np.dtype("bfloat16")}
    assert {leaf.dtype for leaf in map(np.asarray, after.trainable.values())} == {
        np.dtype("float32")
    }
    adapters = {path for path in after.trainable if "lora" in path}
    assert len(adapters) == 20
    moved = changed(before.trainable, after.trainable)
    assert adapters <= moved
    still = set(after.trainable) - moved
    assert still == set()
    assert "layers/language/qkv/kernel" in new
    assert not {path for path in new if "lora" in path or path.startswith("vision")}


def test_frozen_layers_with_their_adapters_come_back_from_a_checkpoint(tmp_path, lora_preset):
    config = plain(tmp_path, model=lora_preset, ema_decay=None, dtype="bfloat16", exp_name="kept")
    config.run_folder.mkdir(parents=True)
    mesh = make_mesh(config)
    state = create_state(config, mesh)
    wide = {path for path in state.frozen if path.endswith("/0")}
    assert len(wide) == 2 * 5
    with RunCheckpoints(config, mesh, Assets("synthetic", synthetic_stats(14), {})) as saved:
        saved.save(state)
        saved.wait()
        back = saved.restore()
    assert jax.tree.structure(back) == jax.tree.structure(state)
    for one, other in zip(jax.tree.leaves(back), jax.tree.leaves(state), strict=True):
        assert one.sharding == other.sharding
        np.testing.assert_array_equal(np.asarray(one), np.asarray(other))
    host = jax.device_get(state.leaves())
    given = create_state(config, mesh, host)
    for path, leaf in given.frozen.items():
        np.testing.assert_array_equal(np.asarray(leaf), np.asarray(state.frozen[path]))


def test_the_loss_is_openpis_with_its_randomness(home):
    config = plain(home)
    (host,) = host_batches(config, 1)
    before, _, (metrics,) = run(config, batches=[host])
    _, noise_key, time_key = jax.random.split(step_key(config, 0), 3)
    noise = jax.random.normal(noise_key, host.actions.shape)
    time = jax.random.beta(time_key, 1.5, 1, (4,)) * 0.999 + 0.001
    seen = shard_batch(make_mesh(config), host).seen
    model = Pi0(config_model.model_config(config))
    errors = jax.jit(lambda p: model.apply(p, seen, host.actions, noise, time, method=Pi0.loss))(
        {"params": before.tree()}
    )
    assert float(metrics.loss) == pytest.approx(float(jnp.mean(errors)), rel=1e-5)


@pytest.mark.parametrize("freeze", ["none", "vision"])
@pytest.mark.parametrize("tower", [None, "none"])
def test_micro_batches_are_the_whole_batch(home, freeze, tower):
    config = plain(home, freeze=freeze)
    batches = host_batches(config, 1)
    _, whole, (a,) = run(config, batches=batches)
    plan = Plan(1, "all", tower=tower)
    _, parts, (b,) = run(config, plan=plan, batches=batches)
    assert float(b.loss) == pytest.approx(float(a.loss), rel=1e-5)
    assert float(b.grad_norm) == pytest.approx(float(a.grad_norm), rel=1e-4)
    # Of the moments, as Adam's first step is a sign, which rounding can turn.
    mu_a, mu_b = (jax.tree.leaves(s.opt_state[1][0].mu) for s in (whole, parts))
    scale = max(float(np.abs(leaf).max()) for leaf in mu_a)
    for one, other in zip(mu_a, mu_b, strict=True):
        np.testing.assert_allclose(other, one, atol=1e-5 * scale)


def test_the_rate_rises_and_falls_like_openpis():
    rate = learning_rate(OptimizerConfig(1000, 2.5e-5, 30_000, 2.5e-6))
    wanted = {0: 2.5e-5 / 1001, 1000: 2.5e-5, 15_500: 1.375e-5, 30_000: 2.5e-6, 90_000: 2.5e-6}
    for step, value in wanted.items():
        assert float(np.asarray(rate(step))) == pytest.approx(value, rel=1e-5)


def test_averages_follow_the_parameters(home):
    before, after, _ = run(plain(home), 1)
    for path, old in before.ema.items():
        np.testing.assert_allclose(
            after.ema[path], 0.75 * old + 0.25 * after.trainable[path], rtol=1e-5, atol=1e-7
        )
    assert changed(before.ema, after.ema)


def test_a_batch_that_is_not_finite_changes_nothing(home):
    config = plain(home)
    good, bad = host_batches(config, 2)
    bad = replace(bad, actions=np.full_like(bad.actions, np.nan))
    _, once, _ = run(config, batches=[good])
    _, twice, (_, metrics) = run(config, batches=[good, bad])
    assert float(metrics.skipped) == 1.0
    assert int(twice.step) == 2
    for part in ("trainable", "ema"):
        assert not changed(getattr(once, part), getattr(twice, part))
    for a, b in zip(jax.tree.leaves(once.opt_state), jax.tree.leaves(twice.opt_state), strict=True):
        np.testing.assert_array_equal(a, b)


def test_a_fresh_model_has_no_steep_gradients(home):
    # As it has where pictures begin as tokens of zeros, which norms blow up a thousandfold.
    config = plain(home)
    _, _, metrics = run(config, batches=host_batches(config, 1))
    assert float(metrics[0].grad_norm) < 100.0


def test_the_loss_falls_on_one_batch(home):
    config = plain(home)
    (host,) = host_batches(config, 1)
    _, _, metrics = run(config, batches=[host] * 40)
    losses = [float(each.loss) for each in metrics]
    assert np.mean(losses[-10:]) < 0.75 * np.mean(losses[:10])


def test_clean_rows_count_for_nothing_and_are_as_long_as_drawn():
    noise_key, time_key = jax.random.split(jax.random.key(1))
    draws = draw(noise_key, time_key, (500, 50, 32), 10)
    clean = np.asarray(draws.time == 0.0)
    delays = clean.sum(axis=1)
    assert set(delays) == set(range(11))
    assert (clean == (np.arange(50) < delays[:, None])).all()
    np.testing.assert_allclose(np.asarray(draws.weight).mean(axis=1), 1.0, rtol=1e-5)
    assert (np.asarray(draws.weight)[clean] == 0).all()
    free = draw(noise_key, time_key, (500, 50, 32), 0)
    np.testing.assert_array_equal(free.noise, draws.noise)
    assert float(free.time.min()) >= 0.001
    assert (np.asarray(free.weight) == 1).all()
    assert float(free.time[:, 0].mean()) == pytest.approx(0.6, abs=0.03)  # of Beta(1.5, 1)
    half = draw(noise_key, time_key, (500, 50, 32), 10, 0.5)
    given = np.asarray(half.time == 0.0).any(axis=1)
    assert given.mean() == pytest.approx(0.5 * 10 / 11, abs=0.07)  # one delay of eleven is none
    np.testing.assert_array_equal(np.asarray(half.time)[given], np.asarray(draws.time)[given])


def test_shifted_flow_times_have_more_noise_and_stay_within_bounds():
    noise_key, time_key = jax.random.split(jax.random.key(2))
    plain, shifted = (
        np.asarray(draw(noise_key, time_key, (4000, 2, 1), 0, 1.0, shift).time[:, 0])
        for shift in (1.0, 4.0)
    )
    np.testing.assert_allclose(shifted, 4 * plain / (1 + 3 * plain), rtol=1e-5)
    assert shifted.min() > 0.0
    assert shifted.max() <= 1.0
    assert (plain > 0.9).mean() == pytest.approx(1 - 0.9**1.5, abs=0.02)
    assert (shifted > 0.9).mean() == pytest.approx(1 - (0.9 / 1.3) ** 1.5, abs=0.03)


def test_the_step_draws_with_the_shift_of_its_config(home):
    (host,) = host_batches(plain(home), 1)
    losses = [
        float(run(plain(home, time_shift=shift), batches=[host])[2][0].loss)
        for shift in (1.0, 50.0)
    ]
    assert losses[0] != losses[1]


@pytest.mark.slow
def test_training_with_clean_prefixes_learns(home):
    config = plain(home, max_prefix=10)
    (host,) = host_batches(config, 1)
    _, _, metrics = run(config, batches=[host] * 20)
    losses = [float(each.loss) for each in metrics]
    assert np.mean(losses[-5:]) < np.mean(losses[:5])


def test_pictures_change_as_openpis_do_by_the_same_key():
    given = np.load(GOLDENS)
    cameras = tuple(map(str, given["cameras"]))
    key = jax.random.key(int(given["seed"]))
    found = np.asarray(jax.jit(augment, static_argnums=2)(given["images"], key, cameras))
    np.testing.assert_allclose(found, given["changed"], atol=1e-5)
    unchanged = np.abs(found - (given["images"] / 127.5 - 1.0)).max(axis=(2, 3, 4)) < 1e-5
    assert not unchanged[:, 0].any()  # each of these is turned
    assert set(unchanged[:, 1]) == {True, False}  # at the wrist, half get other colours


def test_pictures_change_within_limits_and_each_for_itself():
    grey = np.full((32, 3, 56, 56, 3), 128, np.uint8)
    grey[:, :, 20:30, 20:30] = (255, 0, 0)
    cameras = ("base_0_rgb", "left_wrist_0_rgb", "right_wrist_0_rgb")
    found = np.asarray(jax.jit(augment, static_argnums=2)(grey, jax.random.key(0), cameras))
    assert found.shape == grey.shape
    assert -1 <= found.min() < found.max() <= 1 + 1e-5
    red = found[..., 0] - found[..., 1:].max(axis=-1) > 0.2

    def box(mask):
        rows, columns = np.nonzero(mask)
        return rows.min(), rows.max(), columns.min(), columns.max()

    at_wrist = {box(mask) for mask in red[:, 1:].reshape(-1, 56, 56)}
    assert at_wrist == {(20, 29, 20, 29)}  # nothing moves there
    boxes = np.array([box(mask) for mask in red[:, 0]])
    assert len({tuple(each) for each in boxes}) > 10
    middles = (boxes[:, ::2] + boxes[:, 1::2]) / 2
    assert np.abs(middles - 24.5).max() < 4  # a crop's two pixels, and the turn
    np.testing.assert_array_equal(found[:, 1], found[:, 2])  # cameras of an example share draws
    recoloured = (np.abs(found[:, 1, 0, 0] - 1 / 255) > 1e-3).any(axis=-1)
    assert 8 <= recoloured.sum() <= 24
    repeated = jax.jit(augment, static_argnums=2)(grey, jax.random.key(0), cameras)
    np.testing.assert_array_equal(repeated, found)
    still = np.asarray(jax.jit(augment, static_argnums=(2, 3))(
        grey, jax.random.key(0), cameras, "colours"
    ))  # fmt: skip
    np.testing.assert_array_equal(still[:, 1:], found[:, 1:])
    np.testing.assert_array_equal(still[:, 0], still[:, 1])  # colours only


def test_numbers_that_do_not_divide_are_refused(home):
    with pytest.raises(TrainingError, match="fsdp_devices must divide the number of devices, 1"):
        make_mesh(plain(home, fsdp_devices=3))
    with pytest.raises(TrainingError, match="micro_batch must divide the 4 examples"):
        make_mesh(plain(home, micro_batch=3))


def test_plans_can_be_written_down():
    assert parse_plan("4:all") == Plan(4, "all")
    assert parse_plan("8:some:2") == Plan(8, "some", 2)
    assert parse_plan("8:some:17:none") == Plan(8, "some", 17, "none")
    said = "a plan must be as 4:all, 8:some:2 or 8:some:17:none, got"
    for wrong in ("", "8", "8:much", "eight:all", "8:some:-1", "8:some:2:", "8:some:none"):
        with pytest.raises(TrainingError, match=said):
            parse_plan(wrong)


def test_the_plan_keeps_what_fits(home):
    config = plain(home, model="pi0_lora", batch_size=8, ema_decay=None, dtype="bfloat16")
    model = config_model.model_config(config)
    gb = 10**9
    plans = [make_plan(config, model, 1, size * gb) for size in (140, 40, 24, 18)]
    assert plans[0] == Plan(8, "all")
    assert plans[1] == Plan(8, "all")
    assert plans[2] == Plan(8, "some", 4)
    assert plans[3] == Plan(4, "none", tower="some")
    larger = make_plan(replace(config, batch_size=32), model, 1, 32 * gb)
    # Several passes cost less than working much out again; the tower's is one.
    assert larger == Plan(8, "all", tower="none")
    whole = make_plan(replace(config, freeze="none"), model, 1, 140 * gb)
    assert whole.kept_layers == 0  # weights that are trained cannot be read where they lie
    with pytest.raises(TrainingError, match="not enough memory on a device"):
        make_plan(config, model, 1, 12 * gb)
    assert make_plan(replace(config, micro_batch=2, remat="some"), model, 1, None) == Plan(
        2, "some"
    )
