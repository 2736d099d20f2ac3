"""π0.5 with clean prefixes: from converted episodes by the loader and the step to a policy."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, replace
from typing import Any

import jax
import numpy as np
import pytest

from fixtures.training import PROMPT, convert_episodes, debug_config
from trossen_pi0_policy.checkpoints import write_checkpoint
from trossen_pi0_policy.pi0 import config as models
from trossen_pi0_policy.pi0.parameters import to_openpi
from trossen_pi0_policy.pi0.policy import load_policy
from trossen_pi0_training import norm_stats
from trossen_pi0_training.feed.loader import Loader, Source
from trossen_pi0_training.feed.selection import open_dataset, select_episodes
from trossen_pi0_training.fit.batch import shard_batch
from trossen_pi0_training.fit.mesh import make_mesh
from trossen_pi0_training.fit.plan import Plan
from trossen_pi0_training.fit.state import create_state
from trossen_pi0_training.fit.step import make_train_step
from trossen_pi0_training.run.metadata import checkpoint_metadata

NAME, STEPS = "tiny_pi05", 20
TINY = replace(models.get_config("tiny"), pi05=True, max_token_len=200)


@dataclass(frozen=True)
class Trained:
    """What became of a training on one batch."""

    config: Any
    frames: Any
    stats: Any
    host: Any
    losses: list[float]
    checkpoint: Any


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    presets: dict[str, Any] = models._PRESETS
    presets[NAME] = TINY
    yield train(tmp_path_factory.mktemp("pi05"))
    del presets[NAME]


def train(home):
    changes = {"model": NAME, "max_prefix": 10, "batch_size": 4, "ema_decay": None}
    changes["augment"] = "none"
    config = debug_config(home, convert_episodes(home), **changes)
    frames = open_dataset(config.data)
    chosen = select_episodes(frames, config.data)
    stats = norm_stats.compute(frames, chosen.train, TINY.action_horizon, delta=False)
    mesh = make_mesh(config)
    with Loader(Source(config, stats, "train", (0, 4))) as loader:
        (host,) = itertools.islice(loader, 1)
    state = create_state(config, mesh)
    step = make_train_step(config, mesh, Plan(4, "none"))
    losses = []
    for _ in range(STEPS):
        state, metrics = step(state, shard_batch(mesh, host))
        losses.append(float(metrics.loss))
    checkpoint = write_checkpoint(
        home / str(STEPS),
        to_openpi(jax.device_get(state.tree()), TINY),
        norm_stats=stats,
        asset_id=config.data.asset,
        metadata=checkpoint_metadata(config, frames.fps, None),
    )
    return Trained(config, frames, stats, host, losses, checkpoint)


def test_the_state_is_part_of_the_prompt_and_all_is_normalised_by_quantiles(trained):
    frames, stats = trained.frames, trained.stats
    episodes = select_episodes(frames, trained.config.data).train
    rows = np.concatenate(
        [np.arange(s.first, s.first + s.length) for s in (frames.episodes[n] for n in episodes)]
    )
    for i, number in enumerate(trained.host.numbers):
        frame = frames.frame(int(rows[number]))

        def scaled(values, of):
            low, high = stats[of].q01, stats[of].q99
            return (values - low) / (high - low + 1e-6) * 2.0 - 1.0

        state = scaled(frame.state.astype(np.float64), "state")
        np.testing.assert_allclose(trained.host.state[i, :14], state, atol=1e-5)
        bins = np.where(state < -1, -1, np.minimum(np.floor((state + 1) * 128), 255)).astype(int)
        text = f"Task: {PROMPT}, State: {' '.join(map(str, bins))};\nAction: "
        tokens = [2, *(byte + 3 for byte in text.encode())]
        np.testing.assert_array_equal(trained.host.tokens[i, : len(tokens)], tokens)
        assert trained.host.token_mask[i].sum() == len(tokens)
        action = scaled(frame.action.astype(np.float64), "actions")
        np.testing.assert_allclose(trained.host.actions[i, 0, :14], action, atol=1e-5)
        assert not trained.host.actions[i, :, 14:].any()


def test_the_loss_falls(trained):
    assert np.isfinite(trained.losses).all()
    assert np.mean(trained.losses[-5:]) < 0.9 * np.mean(trained.losses[:5])


def test_it_is_served_conditioned_on_what_is_executed(trained):
    policy = load_policy(trained.checkpoint)
    assert policy.config == TINY
    assert policy.metadata["rtc"] == "conditioned"
    frame = trained.frames.frame(3)
    rows = trained.frames.column("action")[3:13]
    request = {
        "state": frame.state,
        "images": {name: image.transpose(2, 0, 1) for name, image in frame.images.items()},
        "rtc": {"prefix": rows, "frozen": 6},
    }
    noise = np.random.default_rng(0).standard_normal((50, 32)).astype(np.float32)
    answer = policy.infer_one(request, noise=noise)
    assert answer["committed_rows"] == 6
    np.testing.assert_allclose(answer["actions"][:6], rows[:6], rtol=0, atol=1e-5)
    free = policy.infer_one({**request, "rtc": None}, noise=noise)["actions"]
    # The rows behind them are other ones, as the model sees what is executed.
    assert np.abs(free[6:] - answer["actions"][6:]).max() > 1e-5
