"""Trains by openpi's train step and by ours from the same start, and compares the losses.

By hand, with an installed checkout of openpi, whose ``scripts`` are on the path::

    PYTHONPATH=tools:OPENPI/scripts JAX_PLATFORMS=cpu python -m peers.compare_losses [--steps 200]

LoRA on both experts; parameters, batches and the random keys of each step are the same, pictures
are augmented. The model is small (golden case ``pi0_lora``), or with ``--size full``, on a GPU, of
full size and drawn at random. In float32, and in bfloat16, where both round, each in its way.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import functools
import sys
from collections.abc import Mapping, Sequence
from typing import Any
from unittest import mock

import jax
import jax.numpy as jnp
import numpy as np
import openpi.models.model as openpi_model  # pyright: ignore[reportMissingImports]
import train  # pyright: ignore[reportMissingImports]
from flax import traverse_util
from openpi.models.pi0_config import Pi0Config  # pyright: ignore[reportMissingImports]
from openpi.shared import array_typing  # pyright: ignore[reportMissingImports]
from openpi.training import config as configs  # pyright: ignore[reportMissingImports]
from openpi.training import optimizer, sharding  # pyright: ignore[reportMissingImports]

from peers.golden_cases import CAMERAS, CASES
from peers.make_openpi_goldens import sizes
from peers.parameter_recipe import seeded_parameters
from trossen_pi0_policy.pi0 import config as models
from trossen_pi0_policy.pi0.model import ModelBatch
from trossen_pi0_policy.pi0.parameters import from_openpi
from trossen_pi0_training.config.fields import OptimizerConfig
from trossen_pi0_training.config.registry import find_config
from trossen_pi0_training.fit.batch import Batch
from trossen_pi0_training.fit.mesh import make_mesh
from trossen_pi0_training.fit.plan import Plan
from trossen_pi0_training.fit.state import create_state
from trossen_pi0_training.fit.step import make_train_step

_CASE = CASES["pi0_lora"]
_BATCHES, _SEED = 8, 0
_PRESET = "compared"
_VARIANTS = ("gemma_2b_lora", "gemma_300m_lora")
"""Of openpi, by whose names it decides what is frozen."""


@dataclasses.dataclass(frozen=True)
class Size:
    """What is compared.

    Attributes:
        batch: examples of a step.
        rate: of learning: steps of warm-up, peak, steps in all, lowest.
        full: the model as it is, else the small one.
    """

    batch: int
    rate: tuple[int, float, int, float]
    full: bool

    def model(self) -> models.Pi0Config:
        """Our sizes of it."""
        return models.get_config("pi0_lora") if self.full else _small_model()


SIZES = {
    "small": Size(4, (20, 1e-3, 200, 1e-4), full=False),
    "full": Size(8, (20, 1e-4, 200, 1e-5), full=True),
}


class Seeded:
    """Stands for openpi's loader of weights."""

    def load(self, shapes: Any) -> Any:
        """Seeded parameters of these shapes, in their types."""
        flat: dict[str, Any] = dict(traverse_util.flatten_dict(shapes, sep="/"))
        drawn = seeded_parameters({path: leaf.shape for path, leaf in flat.items()}, _CASE.seed)
        cast = {path: jnp.asarray(drawn[path], leaf.dtype) for path, leaf in flat.items()}
        return traverse_util.unflatten_dict(cast, sep="/")


def batches(size: Size) -> list[dict[str, Any]]:
    """Examples of all steps, which come again and again."""
    rng, n, model = np.random.default_rng(_SEED), size.batch, size.model()
    edge = model.image_size
    return [
        {
            "images": rng.integers(0, 256, (n, 3, edge, edge, 3), np.uint8),
            "state": rng.normal(size=(n, 32)).astype(np.float32),
            "tokens": rng.integers(0, model.vocab_size, (n, model.max_token_len), np.int32),
            "actions": rng.normal(size=(n, model.action_horizon, 32)).astype(np.float32),
        }
        for _ in range(_BATCHES)
    ]


def openpi_losses(size: Size, steps: int, dtype: str) -> tuple[list[float], Mapping[str, Any]]:
    """Losses of openpi's training, and the parameters it began with, by path."""
    ours = size.model()
    model = Pi0Config(
        dtype=dtype,
        paligemma_variant=_VARIANTS[0],
        action_expert_variant=_VARIANTS[1],
        action_horizon=ours.action_horizon,
        max_token_len=ours.max_token_len,
    )
    loader: dict[str, Any] = {} if size.full else {"weight_loader": Seeded()}
    config = configs.TrainConfig(
        name="compared",
        exp_name="compared",
        model=model,
        freeze_filter=model.get_freeze_filter(),
        lr_schedule=optimizer.CosineDecaySchedule(*size.rate),
        ema_decay=None,
        batch_size=size.batch,
        seed=_SEED,
        wandb_enabled=False,
        **loader,
    )
    key, init = jax.random.split(jax.random.key(_SEED))
    # Newer JAX makes observations of descriptions, which openpi's checks of types refuse.
    small = contextlib.nullcontext() if size.full else sizes(_CASE, *_VARIANTS)
    with small, array_typing.disable_typechecking():
        state, _ = train.init_train_state(config, init, sharding.make_mesh(1), resume=False)
        start: Any = traverse_util.flatten_dict(state.params.to_pure_dict(), sep="/")
        start = {path: jnp.copy(leaf) for path, leaf in start.items()}
        step = jax.jit(functools.partial(train.train_step, config), donate_argnums=1)
        seen, losses = [_openpi_batch(each) for each in batches(size)], []
        for i in range(steps):
            state, info = step(key, state, seen[i % _BATCHES])
            losses.append(float(info["loss"]))
            _tell("openpi", i, losses[-1])
    return losses, start


def our_losses(size: Size, steps: int, dtype: str, start: Mapping[str, Any]) -> list[float]:
    """Losses of our training from the same parameters."""
    model = size.model()
    config = dataclasses.replace(
        find_config("pi0_trossen_transfer_block"),
        model=_PRESET,
        dtype=dtype,
        batch_size=size.batch,
        seed=_SEED,
        optimizer=OptimizerConfig(*size.rate),
    )
    tree = traverse_util.flatten_dict(from_openpi(dict(start), model), sep="/")
    with mock.patch.dict(models._PRESETS, {_PRESET: model}):  # noqa: SLF001
        mesh = make_mesh(config)
        state = create_state(config, mesh, tree)
        step = make_train_step(config, mesh, Plan(size.batch, "some", 1))
        seen, losses = [_our_batch(each) for each in batches(size)], []
        for i in range(steps):
            state, metrics = step(state, seen[i % _BATCHES])
            losses.append(float(metrics.loss))
            _tell("ours", i, losses[-1])
    return losses


def _tell(whose: str, step: int, loss: float) -> None:
    sys.stderr.write(f"{whose} {step} {loss:.6f}\n")


def _small_model() -> models.Pi0Config:
    experts = {}
    for name, sizes_ in {"language": _CASE.language, "action": _CASE.action}.items():
        fields = dataclasses.asdict(sizes_)
        rank, alpha = fields.pop("lora")
        experts[name] = models.ExpertConfig(**fields, lora=models.LoraConfig(rank, alpha))
    return models.Pi0Config(
        models.VisionConfig(**dataclasses.asdict(_CASE.tower)),
        **experts,
        action_horizon=_CASE.horizon,
        max_token_len=_CASE.max_token_len,
        vocab_size=_CASE.vocab_size,
    )


def _openpi_batch(each: Mapping[str, Any]) -> tuple[Any, Any]:
    there = np.ones(len(each["state"]), bool)
    observation = openpi_model.Observation.from_dict(
        {
            "image": {k: jnp.asarray(each["images"][:, i]) for i, k in enumerate(CAMERAS)},
            "image_mask": {k: jnp.asarray(there) for k in CAMERAS},
            "state": jnp.asarray(each["state"]),
            "tokenized_prompt": jnp.asarray(each["tokens"]),
            "tokenized_prompt_mask": jnp.ones(each["tokens"].shape, bool),
        }
    )
    return observation, jnp.asarray(each["actions"])


def _our_batch(each: Mapping[str, Any]) -> Batch:
    seen = ModelBatch(
        images=jnp.asarray(each["images"]),
        image_mask=jnp.ones((len(each["state"]), len(CAMERAS)), bool),
        state=jnp.asarray(each["state"]),
        tokens=jnp.asarray(each["tokens"]),
        token_mask=jnp.ones(each["tokens"].shape, bool),
    )
    return Batch(seen, jnp.asarray(each["actions"]))


def main(argv: Sequence[str] | None = None) -> int:
    """Prints the losses of some steps, and how far they are apart at most."""
    parser = argparse.ArgumentParser(prog="python -m peers.compare_losses")
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--dtype", nargs="+", default=["float32", "bfloat16"])
    parser.add_argument("--size", choices=SIZES, default="small")
    options = parser.parse_args(argv)
    size = SIZES[options.size]
    for dtype in options.dtype:
        theirs, start = openpi_losses(size, options.steps, dtype)
        ours = our_losses(size, options.steps, dtype, start)
        apart = np.abs(np.array(ours) - theirs) / theirs
        sys.stdout.write(f"{dtype}\n| step | openpi | ours | apart |\n| --- | --- | --- | --- |\n")
        for i in sorted(
            {0, 1, *range(9, options.steps, max(1, options.steps // 10)), options.steps - 1}
        ):
            sys.stdout.write(f"| {i} | {theirs[i]:.6f} | {ours[i]:.6f} | {apart[i]:.1e} |\n")
        sys.stdout.write(f"at most {apart.max():.1e}, mean {apart.mean():.1e}\n")
        sys.stdout.flush()
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
