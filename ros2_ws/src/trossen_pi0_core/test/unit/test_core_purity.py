"""The core brings neither ROS nor JAX, and its front door opens."""

from __future__ import annotations

import pkgutil
import subprocess
import sys

import trossen_pi0_core

MODULES = [
    module.name for module in pkgutil.walk_packages(trossen_pi0_core.__path__, "trossen_pi0_core.")
]

FORBIDDEN = ("rclpy", "trossen_pi0_msgs", "trossen_pi0_ros", "sensor_msgs", "jax", "flax", "torch")


def loaded_by(*modules: str) -> set[str]:
    """Top-level modules that are loaded in a fresh process after importing some."""
    code = f"import {', '.join(modules)}, sys; print(*{{m.split('.')[0] for m in sys.modules}})"
    result = subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True, timeout=60
    )
    return set(result.stdout.split())


def test_the_core_has_the_modules_that_this_test_is_about() -> None:
    assert {"trossen_pi0_core.executor", "trossen_pi0_core.parameters.policy"} <= set(MODULES)


def test_no_module_of_the_core_brings_ros_or_jax() -> None:
    loaded = loaded_by(*MODULES)
    assert "trossen_pi0_core" in loaded
    assert loaded.isdisjoint(FORBIDDEN)


def test_the_front_door_is_light() -> None:
    assert loaded_by("trossen_pi0_core").isdisjoint({*FORBIDDEN, "scipy", "PIL"})


def test_every_public_name_is_there() -> None:
    assert trossen_pi0_core.__all__
    for name in trossen_pi0_core.__all__:
        assert getattr(trossen_pi0_core, name).__doc__ or name.isupper(), name


def test_every_error_is_one_of_the_suite_s() -> None:
    from trossen_pi0_core import errors

    classes = [value for value in vars(errors).values() if isinstance(value, type)]
    assert len(classes) > 10
    assert all(issubclass(cls, errors.TrossenPi0Error) for cls in classes)
