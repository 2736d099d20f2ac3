"""Times openpi's train step and ours in turns on one GPU, LoRA of full size, synthetic data.

By hand, on a machine with a GPU and an installed checkout of openpi, whose ``scripts`` are on the
path::

    PYTHONPATH=tools:OPENPI/scripts python -m peers.compare_training --batch-size 8 32

Each side is a process of its own, so that memory can be told apart. Those of a batch size compile
one after the other, since the compiler tries kernels on the GPU, and are then timed in turns.
openpi's step is ``train.train_step`` as ``scripts/train.py`` compiles it. Memory is that of the
compiled step.
"""

from __future__ import annotations

import argparse
import functools
import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Protocol

import numpy as np

_ROUNDS = 2
_WARM_UP = 2


class Timed(Protocol):
    """A train step that can be timed."""

    compiled: Any

    def run(self, steps: int) -> float:
        """Duration of so many steps [s]."""
        ...


class OpenpiStep:
    """openpi's train step, as ``scripts/train.py`` sets it up."""

    def __init__(self, batch_size: int) -> None:
        """Args:
        batch_size: examples of a step.
        """
        import jax
        import openpi.models.model as openpi_model  # pyright: ignore[reportMissingImports]
        import train  # pyright: ignore[reportMissingImports]
        from openpi.models.pi0_config import Pi0Config  # pyright: ignore[reportMissingImports]
        from openpi.shared import array_typing  # pyright: ignore[reportMissingImports]
        from openpi.training import config as configs  # pyright: ignore[reportMissingImports]
        from openpi.training import sharding  # pyright: ignore[reportMissingImports]

        model = Pi0Config(
            paligemma_variant="gemma_2b_lora", action_expert_variant="gemma_300m_lora"
        )
        config = configs.TrainConfig(
            name="compared",
            exp_name="compared",
            model=model,
            freeze_filter=model.get_freeze_filter(),
            ema_decay=None,
            batch_size=batch_size,
            wandb_enabled=False,
        )
        mesh = sharding.make_mesh(1)
        over_data = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec(sharding.DATA_AXIS))
        everywhere = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec())
        self._key, init = jax.random.split(jax.random.key(0))
        self._state, places = train.init_train_state(config, init, mesh, resume=False)
        rng, pictures = np.random.default_rng(0), (batch_size, 224, 224, 3)
        keys = openpi_model.IMAGE_KEYS
        data = {
            "image": {k: rng.integers(0, 256, pictures, np.uint8) for k in keys},
            "image_mask": {k: np.ones(batch_size, bool) for k in keys},
            "state": rng.normal(size=(batch_size, 32)).astype(np.float32),
            "tokenized_prompt": rng.integers(0, 257_152, (batch_size, 48)).astype(np.int32),
            "tokenized_prompt_mask": np.ones((batch_size, 48), bool),
        }
        actions = rng.normal(size=(batch_size, 50, 32)).astype(np.float32)
        batch = openpi_model.Observation.from_dict(data), actions
        self._batch = jax.device_put(batch, over_data)
        step = jax.jit(
            functools.partial(train.train_step, config),
            in_shardings=(everywhere, places, over_data),
            out_shardings=(places, everywhere),
            donate_argnums=(1,),
        )
        # Lowering makes observations of descriptions instead of arrays.
        with sharding.set_mesh(mesh), array_typing.disable_typechecking():
            self.compiled = step.lower(self._key, self._state, self._batch).compile()

    def run(self, steps: int) -> float:
        """Duration of so many steps [s]."""
        import jax

        began_s = time.perf_counter()
        for _ in range(steps):
            self._state, _ = self.compiled(self._key, self._state, self._batch)
        jax.block_until_ready(self._state)
        return time.perf_counter() - began_s


def our_step(batch_size: int, plan: str) -> Timed:
    """Our train step of the config that does the same."""
    from trossen_pi0_training.config.registry import find_config
    from trossen_pi0_training.fit.bench import TimedStep

    config = replace(find_config("pi0_trossen_transfer_block"), batch_size=batch_size)
    return TimedStep(config, plan)


def serve_side(side: str, batch_size: int) -> None:
    """What a child does: compiles, says so, then runs so many steps for each line it is sent."""
    import jax

    from trossen_pi0_training.fit.bench import program_bytes

    timed = OpenpiStep(batch_size) if side == "openpi" else our_step(batch_size, side)
    timed.run(_WARM_UP)
    _say({"memory": program_bytes(timed.compiled)})
    for line in sys.stdin:
        seconds = timed.run(int(line))
        peak = (jax.local_devices()[0].memory_stats() or {}).get("peak_bytes_in_use", 0)
        _say({"seconds": seconds, "peak": peak})


def _say(what: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(what) + "\n")
    sys.stdout.flush()


class Side:
    """A child, seen from the parent.

    Attributes:
        name: ``openpi``, or the plan of our step.
        batch_size: examples of a step.
        rates: samples/s of each round.
        memory: of the compiled step [bytes]; 0 where the child failed.
        peak: most that the child's allocator had given out [bytes].
    """

    def __init__(self, name: str, batch_size: int, path: str) -> None:
        """Starts it; ``path`` goes before its PYTHONPATH."""
        self.name, self.batch_size = name, batch_size
        self.rates: list[float] = []
        self.memory, self.peak = 0, 0
        paths = [p for p in (path, os.environ.get("PYTHONPATH", "")) if p]
        self._process = subprocess.Popen(
            [sys.executable, "-m", "peers.compare_training", "--side", name, str(batch_size)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={
                **os.environ,
                "PYTHONPATH": os.pathsep.join(paths),
                "XLA_PYTHON_CLIENT_PREALLOCATE": "false",
            },
        )

    def wait_until_compiled(self) -> None:
        """Until it can be timed, or has failed."""
        self.memory = self._read().get("memory", 0)

    def time(self, steps: int) -> None:
        """One round."""
        if not self.memory:
            return
        assert self._process.stdin is not None
        self._process.stdin.write(f"{steps}\n")
        self._process.stdin.flush()
        said = self._read()
        if said:
            self.rates.append(steps * self.batch_size / said["seconds"])
            self.peak = said["peak"]

    def end(self) -> None:
        """Ends the child."""
        self._process.kill()
        self._process.wait()

    def _read(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            if line.startswith("{"):
                return json.loads(line)
        sys.stderr.write(f"{self.name}, batch {self.batch_size}: the process ended\n")
        return {}


def main(argv: Sequence[str] | None = None) -> int:
    """Prints a table in Markdown."""
    parser = argparse.ArgumentParser(prog="python -m peers.compare_training")
    parser.add_argument("--batch-size", type=int, nargs="+", default=[8, 32])
    parser.add_argument("--plan", nargs="+", default=["auto"], help="as BATCH=PLAN for one size")
    parser.add_argument("--steps", type=int, default=20, help="of a round with batch 8")
    parser.add_argument("--openpi-path", default="", help="put before openpi's PYTHONPATH")
    parser.add_argument("--side", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args(argv)
    if options.side:
        serve_side(options.side[0], int(options.side[1]))
        return 0
    for size in options.batch_size:
        named = (text.rpartition("=") for text in options.plan)
        plans = [plan for only, _, plan in named if only in ("", str(size))]
        compare(size, plans, max(3, options.steps * 8 // size), options.openpi_path)
    return 0


def compare(size: int, plans: Sequence[str], steps: int, path: str) -> None:
    """Times openpi and our plans with one batch size, and prints their table."""
    sides: list[Side] = []
    try:
        for name in ("openpi", *plans):
            sides.append(Side(name, size, path if name == "openpi" else ""))
            sides[-1].wait_until_compiled()
        for _ in range(_ROUNDS):
            for side in sides:
                side.time(steps)
    finally:
        for side in sides:
            side.end()
    _print_table(sides)


def _print_table(sides: Sequence[Side]) -> None:
    sys.stdout.write(
        "| batch | step | samples/s | memory of the step | peak | ratio |\n"
        "| --- | --- | --- | --- | --- | --- |\n"
    )
    peer = float(np.median(sides[0].rates)) if sides[0].rates else float("nan")
    for side in sides:
        if not side.rates:
            continue
        rate = float(np.median(side.rates))
        ratio = rate / peer
        sys.stdout.write(
            f"| {side.batch_size} | {side.name} | {rate:.1f} | {side.memory / 1e9:.1f} GB "
            f"| {side.peak / 1e9:.1f} GB | {ratio:.2f} x |\n"
        )
    sys.stdout.flush()


if __name__ == "__main__":
    raise SystemExit(main())
