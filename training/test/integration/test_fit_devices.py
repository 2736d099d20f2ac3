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
import jax, numpy as np
from pathlib import Path
from fixtures.training import debug_config
from trossen_pi0_training.feed.loader import Loader, Source
from trossen_pi0_training.feed.synthetic import synthetic_stats
from trossen_pi0_training.fit import mesh as meshes
from trossen_pi0_training.fit.batch import shard_batch
from trossen_pi0_training.fit.plan import Plan
from trossen_pi0_training.fit.state import create_state
from trossen_pi0_training.fit.step import make_train_step

meshes._LEAST_SHARED_BYTES = 1024  # the model is small
devices, shared, micro = (int(word) for word in sys.argv[1:4])
config = debug_config(Path(sys.argv[4]), batch_size=16, fsdp_devices=shared)
mesh = meshes.make_mesh(config)
assert mesh.devices.shape == (devices // shared, shared)
state = create_state(config, mesh)
step = make_train_step(config, mesh, Plan(micro, "none"))
with Loader(Source(config, synthetic_stats(14), "train", (0, 16))) as loader:
    losses = []
    for host in itertools.islice(loader, 3):
        state, metrics = step(state, shard_batch(mesh, host))
        losses.append(float(metrics.loss))
kernel = state.trainable["layers/language/gate_up/kernel"]
moment = state.opt_state[1][0].mu["layers/language/gate_up/kernel"]
held = [leaf.addressable_shards[0].data.size / leaf.size for leaf in (kernel, moment)]
print(json.dumps({"losses": losses, "held": held}))
"""


def train(tmp_path, devices, shared, micro):
    flags = f"--xla_force_host_platform_device_count={devices}"
    words = [sys.executable, "-c", PROGRAM, *map(str, (devices, shared, micro)), str(tmp_path)]
    result = subprocess.run(
        words,
        env={**os.environ, "XLA_FLAGS": flags, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    return json.loads(result.stdout.splitlines()[-1])


@pytest.mark.slow
def test_eight_devices_train_as_one_does(tmp_path):
    one = train(tmp_path, 1, 1, 16)
    assert one["held"] == [1.0, 1.0]
    shared = train(tmp_path, 8, 4, 1)  # of which two take the same parameters
    assert shared["losses"] == pytest.approx(one["losses"], rel=1e-3)
    assert shared["held"] == [0.25, 0.25]


@pytest.mark.slow
def test_data_parallel_devices_each_hold_all(tmp_path):
    one = train(tmp_path, 1, 1, 16)
    parallel = train(tmp_path, 8, 1, 2)
    assert parallel["losses"] == pytest.approx(one["losses"], rel=1e-3)
    assert parallel["held"] == [1.0, 1.0]
