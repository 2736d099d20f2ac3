"""Times the train step alone: ``python -m trossen_pi0_training.fit.bench CONFIG``.

Random parameters and pictures; all pictures and tokens are there. Of each way to take the gradients
it tells examples per second and the memory of the compiled step: state, activations and all.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from trossen_pi0_policy.pi0.config import Pi0Config
from trossen_pi0_policy.pi0.model import ModelBatch
from trossen_pi0_training.config.fields import TrainConfig
from trossen_pi0_training.config.model import model_config
from trossen_pi0_training.config.registry import find_config
from trossen_pi0_training.fit.batch import Batch
from trossen_pi0_training.fit.mesh import make_mesh, over_examples
from trossen_pi0_training.fit.plan import Plan, make_plan, parse_plan
from trossen_pi0_training.fit.state import create_state
from trossen_pi0_training.fit.step import make_train_step

_WARM_UP = 3


def main(argv: Sequence[str] | None = None) -> int:
    """Prints a table in Markdown."""
    parser = argparse.ArgumentParser(prog="python -m trossen_pi0_training.fit.bench")
    parser.add_argument("config", help="name of a config")
    parser.add_argument("--batch-size", type=int, nargs="+", default=[8])
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument(
        "--plan",
        nargs="+",
        default=["auto"],
        help="auto, or EXAMPLES:KEPT[:LAYERS[:TOWER]] such as 4:all, 8:some:2 or 8:some:17:none",
    )
    parser.add_argument("--kernels", choices=["auto", "none"], default="auto")
    options = parser.parse_args(argv)
    sys.stdout.write(
        "| batch | at once | kept | samples/s | memory |\n| --- | --- | --- | --- | --- |\n"
    )
    for size in options.batch_size:
        config = find_config(options.config)
        config = replace(config, batch_size=size, kernels=options.kernels)
        for text in options.plan:
            timed = TimedStep(config, text)
            timed.run(_WARM_UP)
            rate = options.steps * size / timed.run(options.steps)
            memory = program_bytes(timed.compiled) / 1e9
            at_once, kept = timed.plan.micro_batch, timed.plan.said()
            sys.stdout.write(f"| {size} | {at_once} | {kept} | {rate:.1f} | {memory:.1f} GB |\n")
            sys.stdout.flush()
    return 0


class TimedStep:
    """A compiled train step with a state and a batch.

    Attributes:
        plan: how it takes the gradients.
        compiled: the program.
    """

    def __init__(self, config: TrainConfig, plan: str) -> None:
        """Args:
        config: of the training.
        plan: see ``parse_plan``; ``auto`` for what a training would take.
        """
        mesh = make_mesh(config)
        model = model_config(config)
        memory = (jax.local_devices()[0].memory_stats() or {}).get("bytes_limit")
        self.plan: Plan = (
            make_plan(config, model, mesh.devices.size, memory)
            if plan == "auto"
            else parse_plan(plan)
        )
        self._state = create_state(config, mesh)
        batch = _random_batch(config.batch_size, model)
        self._batch = jax.device_put(batch, over_examples(mesh))
        step: Any = make_train_step(config, mesh, self.plan)
        self.compiled = step.lower(self._state, self._batch).compile()

    def run(self, steps: int) -> float:
        """Duration of so many steps [s]."""
        began_s = time.perf_counter()
        for _ in range(steps):
            self._state, _ = self.compiled(self._state, self._batch)
        jax.block_until_ready(self._state)
        return time.perf_counter() - began_s


def program_bytes(compiled: Any) -> int:
    """Memory of a compiled program on a device: what goes in, comes out and lies between."""
    sizes = compiled.memory_analysis()
    return (
        sizes.argument_size_in_bytes
        + sizes.output_size_in_bytes
        - sizes.alias_size_in_bytes
        + sizes.temp_size_in_bytes
    )


def _random_batch(size: int, model: Pi0Config) -> Batch:
    rng, edge = np.random.default_rng(0), model.image_size
    cameras, tokens = len(model.cameras), (size, model.max_token_len)
    seen = ModelBatch(
        images=jnp.asarray(rng.integers(0, 256, (size, cameras, edge, edge, 3), np.uint8)),
        image_mask=jnp.ones((size, cameras), bool),
        state=jnp.asarray(rng.normal(size=(size, model.action_dim)), jnp.float32),
        tokens=jnp.asarray(rng.integers(0, model.vocab_size, tokens), jnp.int32),
        token_mask=jnp.ones(tokens, bool),
    )
    shape = (size, model.action_horizon, model.action_dim)
    return Batch(seen, jnp.asarray(rng.normal(size=shape), jnp.float32))


if __name__ == "__main__":
    raise SystemExit(main())
