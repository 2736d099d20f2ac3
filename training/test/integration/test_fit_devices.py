"""The same training over one and over eight devices, simulated on the CPU."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

PROGRAM = """
import itertools, json, sys
from dataclasses import replace
from pathlib import Path
import jax, numpy as np
from trossen_pi0_training.config.fields import LoaderConfig
from trossen_pi0_training.config.registry import find_config
from trossen_pi0_training.feed.loader import Loader, Source
from trossen_pi0_training.feed.synthetic import synthetic_stats
from trossen_pi0_training.fit import mesh as meshes
from trossen_pi0_training.fit.batch import shard_batch
from trossen_pi0_training.fit.plan import Plan
from trossen_pi0_training.fit.state import create_state
from trossen_pi0_training.fit.step import make_train_step
from trossen_pi0_training.run.checkpoints import Assets, RunCheckpoints

meshes._LEAST_SHARED_BYTES = 1024  # the model is small
devices, shared, micro = (int(word) for word in sys.argv[1:4])
config = replace(
    find_config("debug"), batch_size=16, fsdp_devices=shared, augment="none", ema_decay=None,
    exp_name="try", loader=LoaderConfig(workers=0), checkpoint_base=Path(sys.argv[4]),
)
mesh = meshes.make_mesh(config)
assert mesh.devices.shape == (devices // shared, shared)
state = create_state(config, mesh)
step = make_train_step(config, mesh, Plan(micro, "none", tower=sys.argv[6] or None))
stats = synthetic_stats(14)
with Loader(Source(config, stats, "train", (0, 16))) as loader:
    batches = [shard_batch(mesh, host) for host in itertools.islice(loader, 2)]
losses = []

def kept(state):
    path = "layers/language/gate_up/kernel"
    leaves = state.trainable[path], state.opt_state[1][0].mu[path]
    return [leaf.addressable_shards[0].data.size / leaf.size for leaf in leaves]

held = []

def train_on(state, batch):
    state, metrics = step(state, batch)
    losses.append(float(metrics.loss))
    held.append(kept(state))
    return state

fresh = create_state(config, mesh)
_, unmoved = step(replace(fresh, step=fresh.step + 1), batches[1])  # as the second step is
state = train_on(state, batches[0])
if sys.argv[5] == "resumed":
    with RunCheckpoints(config, mesh, Assets("synthetic", stats, {})) as checkpoints:
        checkpoints.save(state)
        checkpoints.wait()
        train_on(checkpoints.restore(), batches[1])
train_on(state, batches[1])
print(json.dumps({"losses": losses, "held": held, "untrained": float(unmoved.loss)}))
"""

QUICK = "--xla_backend_optimization_level=0 --xla_llvm_disable_expensive_passes=true"
"""The programs take longer to compile than to run."""


class Training:
    """One that has begun, in a process of its own."""

    def __init__(self, folder, devices, shared, micro, how="straight", tower=""):
        flags = f"--xla_force_host_platform_device_count={devices} {QUICK}"
        words = [*map(str, (devices, shared, micro)), str(folder), how, tower]
        self._process = subprocess.Popen(
            [sys.executable, "-c", PROGRAM, *words],
            env={**os.environ, "XLA_FLAGS": flags, "PYTHONPATH": os.pathsep.join(sys.path)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def result(self):
        """Losses of its steps, the share of kernel and moment that a device holds then, and the
        loss that the second step would have without the first.
        """
        try:
            out, errors = self._process.communicate(timeout=300)
        finally:
            self._process.kill()
        assert self._process.returncode == 0, errors
        return json.loads(out.splitlines()[-1])


def side_by_side(tmp_path, *wanted):
    begun = [Training(tmp_path / str(i), *each) for i, each in enumerate(wanted)]
    return [each.result() for each in begun]


def test_eight_devices_train_as_one_does(tmp_path):
    """Four share the parameters, of which two sets take a part of the examples each.

    The picture tower runs with each micro-batch, or at once.
    """
    wanted = (1, 1, 16), (8, 4, 1), (8, 4, 1, "straight", "none")
    one, *several = side_by_side(tmp_path, *wanted)
    assert one["held"] == [[1.0, 1.0]] * 2
    for shared in several:
        assert shared["held"] == [[0.25, 0.25]] * 2
        assert shared["losses"] == pytest.approx(one["losses"], rel=1e-3)
    assert one["losses"][1] < 0.995 * one["untrained"]


@pytest.mark.slow
def test_devices_that_share_parameters_resume_exactly(tmp_path):
    (found,) = side_by_side(tmp_path, (8, 4, 1, "resumed"))
    assert found["held"] == [[0.25, 0.25]] * 3
    _, resumed, straight = found["losses"]
    assert resumed == straight
    assert straight < 0.995 * found["untrained"]  # of the same batch and draws


@pytest.mark.slow
def test_data_parallel_devices_each_hold_all(tmp_path):
    one, parallel = side_by_side(tmp_path, (1, 1, 16), (8, 1, 2))
    assert parallel["losses"] == pytest.approx(one["losses"], rel=1e-3)
    assert parallel["held"] == [[1.0, 1.0]] * 2
