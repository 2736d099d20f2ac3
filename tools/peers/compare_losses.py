"""Trains by openpi's train step and by ours from the same start, and compares the losses.

By hand, with an installed checkout of openpi, whose ``scripts`` are on the path::

    PYTHONPATH=tools:OPENPI/scripts JAX_PLATFORMS=cpu python -m peers.compare_losses [--steps 200]

LoRA on both experts; parameters, batches and the random keys of each step are the same, pictures
are augmented. The model is small (golden case ``pi0_lora``), or with ``--size full``, on a GPU, of
full size and drawn at random. In float32, and in bfloat16, where both round, each in its way.

Roundings grow from step to step. How far they alone take two trainings apart is shown by
``--noise``, openpi against itself: from a start whose trained parameters are changed by as much as
a rounding to bfloat16, and compiled so that each operation's result is rounded as it is written
in the program, where the compiler else keeps float32 between operations that it joins.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import functools
import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal
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

Kernels = Literal["auto", "none"]

CHANGED, ROUNDED = "openpi, start changed", "openpi, each operation rounded"
NOISE = (CHANGED, ROUNDED)
"""Trainings by openpi that differ from its own by roundings."""


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


class Openpi:
    """Openpi's training of this size from one start, any number of times."""

    def __init__(self, size: Size, dtype: str) -> None:
        self._size = size
        ours = size.model()
        model = Pi0Config(
            dtype=dtype,
            paligemma_variant=_VARIANTS[0],
            action_expert_variant=_VARIANTS[1],
            action_horizon=ours.action_horizon,
            max_token_len=ours.max_token_len,
        )
        loader: dict[str, Any] = {} if size.full else {"weight_loader": Seeded()}
        self._config = configs.TrainConfig(
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
        self._key, init = jax.random.split(jax.random.key(_SEED))
        with self._sizes():
            mesh = sharding.make_mesh(1)
            self._state, _ = train.init_train_state(self._config, init, mesh, resume=False)
        self._step = jax.jit(functools.partial(train.train_step, self._config), donate_argnums=1)

    @contextlib.contextmanager
    def _sizes(self) -> Iterator[None]:
        small = contextlib.nullcontext() if self._size.full else sizes(_CASE, *_VARIANTS)
        # Newer JAX makes observations of descriptions, which openpi's checks of types refuse.
        with small, array_typing.disable_typechecking():
            yield

    def start(self) -> dict[str, Any]:
        """The parameters that it begins with, by path."""
        start: Any = traverse_util.flatten_dict(self._state.params.to_pure_dict(), sep="/")
        return {path: jnp.copy(leaf) for path, leaf in start.items()}  # steps consume them

    def losses(self, steps: int, whose: str) -> list[float]:
        """Losses of a training: ``openpi``, or one that differs by roundings (``NOISE``)."""
        state = jax.tree.map(jnp.copy, self._state)
        if whose == CHANGED:
            state = dataclasses.replace(state, params=_changed(state.params))
        seen = [_openpi_batch(each) for each in batches(self._size)]
        with self._sizes():
            step: Any = self._step
            if whose == ROUNDED:
                compiler: dict[str, bool | str] = {"xla_allow_excess_precision": False}
                step = step.lower(self._key, state, seen[0]).compile(compiler_options=compiler)
            losses = []
            for i in range(steps):
                state, info = step(self._key, state, seen[i % _BATCHES])
                losses.append(float(info["loss"]))
                _tell(whose, i, losses[-1])
        return losses


def _changed(params: Any) -> Any:
    """The parameters, those in float32 (the trained ones) off by up to half a bfloat16 step."""
    leaves, tree = jax.tree.flatten(params)
    keys = jax.random.split(jax.random.key(_SEED), len(leaves))
    return tree.unflatten(
        leaf * (1 + jax.random.uniform(key, leaf.shape, leaf.dtype, -(2.0**-9), 2.0**-9))
        if leaf.dtype == jnp.float32
        else leaf
        for key, leaf in zip(keys, leaves, strict=True)
    )


def our_losses(
    size: Size, steps: int, dtype: str, start: Mapping[str, Any], kernels: Kernels
) -> list[float]:
    """Losses of our training from the same parameters, with or without kernels of our own."""
    model = size.model()
    config = dataclasses.replace(
        find_config("pi0_trossen_transfer_block"),
        model=_PRESET,
        dtype=dtype,
        kernels=kernels,
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
            _tell(_ours(kernels), i, losses[-1])
    return losses


def _ours(kernels: Kernels) -> str:
    return f"ours, kernels {kernels}"


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
    """Prints the losses of some steps, and how far each training is from openpi's."""
    parser = argparse.ArgumentParser(prog="python -m peers.compare_losses")
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--dtype", nargs="+", default=["float32", "bfloat16"])
    parser.add_argument("--size", choices=SIZES, default="small")
    parser.add_argument("--kernels", nargs="+", choices=["auto", "none"], default=["auto"])
    parser.add_argument("--noise", action="store_true", help="also openpi against itself")
    options = parser.parse_args(argv)
    size, steps = SIZES[options.size], options.steps
    for dtype in options.dtype:
        openpi = Openpi(size, dtype)
        theirs = openpi.losses(steps, "openpi")
        runs = {}
        for kernels in options.kernels:
            runs[_ours(kernels)] = our_losses(size, steps, dtype, openpi.start(), kernels)
        for whose in NOISE if options.noise else ():
            runs[whose] = openpi.losses(steps, whose)
        _report(dtype, np.array(theirs), {name: np.array(run) for name, run in runs.items()})
    return 0


def _report(dtype: str, theirs: np.ndarray, runs: Mapping[str, np.ndarray]) -> None:
    steps = len(theirs)
    shown = sorted({0, 1, *range(9, steps, max(1, steps // 10)), steps - 1})
    lines = [
        dtype,
        "| step | openpi | " + " | ".join(runs) + " |",
        "| --- " * (len(runs) + 2) + "|",
    ]
    for i in shown:
        row = [f"{losses[i]:.6f}" for losses in (theirs, *runs.values())]
        lines.append(f"| {i} | {' | '.join(row)} |")
    lines += [
        "",
        "| from openpi | at most | mean | mean of the first half | mean loss of the last quarter |",
        "| --- | --- | --- | --- | --- |",
    ]
    for name, losses in {"openpi": theirs, **runs}.items():
        apart = np.abs(losses - theirs) / theirs
        spread = [apart.max(), apart.mean(), apart[: max(1, steps // 2)].mean()]
        figures = [f"{figure:.1e}" for figure in spread]
        lines.append(f"| {name} | {' | '.join(figures)} | {losses[steps * 3 // 4 :].mean():.4f} |")
    sys.stdout.write("\n".join(lines) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    raise SystemExit(main())
