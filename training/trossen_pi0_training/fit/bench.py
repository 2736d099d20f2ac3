"""Times the train step alone: ``python -m trossen_pi0_training.fit.bench CONFIG``.

Random parameters and pictures; all pictures and tokens are there. Of each way to take the gradients
it tells examples per second and the peak of the device's memory so far, which only grows: name ways
in the order of their need, or one in each call.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from dataclasses import replace

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
from trossen_pi0_training.fit.plan import Plan, make_plan
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
        "--plan", nargs="+", default=["auto"], help="auto, or EXAMPLES:KEPT such as 4:all"
    )
    options = parser.parse_args(argv)
    sys.stdout.write(
        "| batch | at once | kept | samples/s | peak GB |\n| --- | --- | --- | --- | --- |\n"
    )
    for size in options.batch_size:
        config = replace(find_config(options.config), batch_size=size)
        for text in options.plan:
            plan = _plan(config, text)
            rate = samples_per_s(config, plan, options.steps)
            peak = (jax.local_devices()[0].memory_stats() or {}).get("peak_bytes_in_use", 0)
            sys.stdout.write(
                f"| {size} | {plan.micro_batch} | {plan.kept} | {rate:.2f} | {peak / 1e9:.2f} |\n"
            )
            sys.stdout.flush()
    return 0


def samples_per_s(config: TrainConfig, plan: Plan, steps: int) -> float:
    """Examples per second of so many steps behind some that do not count."""
    mesh = make_mesh(config)
    state = create_state(config, mesh)
    step = make_train_step(config, mesh, plan)
    batch = jax.device_put(
        _random_batch(config.batch_size, model_config(config)), over_examples(mesh)
    )
    began_s = 0.0
    for i in range(_WARM_UP + steps):
        if i == _WARM_UP:
            jax.block_until_ready(state)
            began_s = time.perf_counter()
        state, _ = step(state, batch)
    jax.block_until_ready(state)
    return steps * config.batch_size / (time.perf_counter() - began_s)


def _plan(config: TrainConfig, text: str) -> Plan:
    if text == "auto":
        memory = (jax.local_devices()[0].memory_stats() or {}).get("bytes_limit")
        return make_plan(config, model_config(config), len(jax.devices()), memory)
    examples, _, kept = text.partition(":")
    if not examples.isdecimal() or kept not in ("none", "some", "all"):
        raise SystemExit(f"a plan must be auto or as 4:all, got {text!r}")
    return Plan(int(examples), kept)


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
