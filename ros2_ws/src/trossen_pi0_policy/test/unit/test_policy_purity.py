"""Which imports the parts of the policy package bring, and backends by name."""

from __future__ import annotations

import subprocess
import sys

import pytest

import trossen_pi0_policy.backends as backends
from trossen_pi0_core.errors import ParameterError
from trossen_pi0_core.parameters import PolicyParameters
from trossen_pi0_core.parameters.policy import BACKENDS
from trossen_pi0_policy.backends import BackendContext, backend_names, make_backend

ROS = ("rclpy", "trossen_pi0_msgs", "trossen_pi0_ros", "sensor_msgs")
HEAVY = ("jax", "flax", "torch", "mujoco", "trossen_pi0_sim")


def loaded_by(code: str) -> set[str]:
    """Top-level modules that are loaded in a fresh process after some code."""
    report = "import sys; print(*{m.split('.')[0] for m in sys.modules})"
    result = subprocess.run(
        [sys.executable, "-c", f"{code}\n{report}"],
        check=True,
        capture_output=True,
        text=True,
        timeout=60,
    )
    return set(result.stdout.split())


def test_runner_and_backends_need_neither_ros_nor_jax_nor_mujoco():
    backends = ", ".join(f"trossen_pi0_policy.backends.{n}" for n in ("openpi", "pi0", "replay"))
    loaded = loaded_by(f"import trossen_pi0_policy.runner, {backends}")
    assert "trossen_pi0_policy" in loaded
    assert loaded.isdisjoint({*ROS, *HEAVY})


@pytest.mark.parametrize("name", ["openpi", "pi0"])
def test_making_a_backend_brings_neither_jax_nor_mujoco(name):
    loaded = loaded_by(
        "from trossen_pi0_core.parameters import PolicyParameters as P\n"
        "from trossen_pi0_policy.backends import *\n"
        f"make_backend({name!r}, BackendContext(P(checkpoint='anywhere')))"
    )
    assert loaded.isdisjoint({*ROS, *HEAVY})


def test_front_door():
    for name in backends.__all__:
        assert hasattr(backends, name)


def test_every_backend_that_can_be_named_can_be_made():
    assert backend_names() == BACKENDS


def test_unknown_backend_lists_the_known_ones():
    with pytest.raises(ParameterError, match=r"'pi1' is not one of \['openpi', 'pi0', 'expert'"):
        make_backend("pi1", BackendContext(PolicyParameters()))


def test_only_the_expert_asks_for_ground_truth():
    wants = {
        name: make_backend(name, BackendContext(PolicyParameters())).needs_ground_truth
        for name in ("openpi", "pi0", "expert")
    }
    assert wants == {"openpi": False, "pi0": False, "expert": True}
