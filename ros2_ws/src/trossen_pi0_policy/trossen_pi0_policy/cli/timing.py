"""Timing a policy from numpy to numpy."""

from __future__ import annotations

import dataclasses
import json
import resource
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from trossen_pi0_core.errors import ParameterError
from trossen_pi0_core.joints import JointMap
from trossen_pi0_policy.cli.files import write_atomically
from trossen_pi0_policy.cli.policies import LocalPolicy

_MB = 1e6
_PREFIX_ROWS = 25
_FROZEN_ROWS = 5


@dataclass(frozen=True)
class Measurement:
    """What was measured.

    Attributes:
        load_s: making the policy, downloads included [s].
        warm_up_s: compiling [s].
        first_call_ms: first call after it [ms].
        calls_ms: each further call [ms].
        peak_host_memory_mb: of this process, so far [MB].
        peak_device_memory_mb: of the accelerator; None where it does not say [MB].
        device: what JAX computes on.
    """

    load_s: float
    warm_up_s: float
    first_call_ms: float
    calls_ms: tuple[float, ...]
    peak_host_memory_mb: float
    peak_device_memory_mb: float | None
    device: str

    def percentile_ms(self, percent: float) -> float:
        """A percentile of the calls [ms]."""
        return float(np.percentile(self.calls_ms, percent))

    def rows(self) -> list[tuple[str, str]]:
        """The figures as a person reads them."""
        device_mb = self.peak_device_memory_mb
        return [
            ("median", f"{self.percentile_ms(50):.2f} ms"),
            ("p5", f"{self.percentile_ms(5):.2f} ms"),
            ("p95", f"{self.percentile_ms(95):.2f} ms"),
            ("p99", f"{self.percentile_ms(99):.2f} ms"),
            ("calls", f"{len(self.calls_ms)}"),
            ("load", f"{self.load_s:.2f} s"),
            ("compile and warm up", f"{self.warm_up_s:.2f} s"),
            ("first call", f"{self.first_call_ms:.2f} ms"),
            ("peak host memory", f"{self.peak_host_memory_mb:.0f} MB"),
            ("peak device memory", "not told" if device_mb is None else f"{device_mb:.0f} MB"),
        ]


def random_requests(
    *,
    cameras: Sequence[str],
    batch: int,
    image_size: int,
    prompt: str,
    seed: int,
    with_prefix: bool = False,
) -> list[dict[str, Any]]:
    """Observations with random pictures and all joints at zero.

    Args:
        cameras: names of the pictures.
        batch: how many observations.
        image_size: edge of the square pictures [pixels].
        prompt: of each.
        seed: for the pictures.
        with_prefix: each brings rows that the answer shall agree with.
    """
    rng = np.random.default_rng(seed)
    shape = (3, image_size, image_size)
    joints = len(JointMap().urdf_names)
    prefix = {"prefix": np.zeros((_PREFIX_ROWS, joints)), "frozen": _FROZEN_ROWS}
    return [
        {
            "state": np.zeros(joints, np.float32),
            "images": {camera: rng.integers(0, 256, shape, np.uint8) for camera in cameras},
            "prompt": prompt,
            **({"rtc": prefix} if with_prefix else {}),
        }
        for _ in range(batch)
    ]


def measure(
    make_policy: Callable[[], LocalPolicy], requests: Sequence[Mapping[str, Any]], calls: int
) -> Measurement:
    """Makes a policy and times it; each call answers all requests together.

    Raises:
        ParameterError: the policy does not take so many at a time.
        TrossenPi0Error: the policy cannot be made, or does not take a request.
    """
    begun_s = time.perf_counter()
    policy = make_policy()
    loaded_s = time.perf_counter()
    if len(requests) > policy.max_batch:
        raise ParameterError(
            f"--batch: {len(requests)} is more than the {policy.max_batch} that the policy takes"
        )
    policy.warm_up()
    warm_s = time.perf_counter()
    ask = _asker(policy, requests)
    times_ms = [ask() for _ in range(calls + 1)]
    device, device_mb = _device()
    return Measurement(
        load_s=loaded_s - begun_s,
        warm_up_s=warm_s - loaded_s,
        first_call_ms=times_ms[0],
        calls_ms=tuple(times_ms[1:]),
        peak_host_memory_mb=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / _MB,
        peak_device_memory_mb=device_mb,
        device=device,
    )


def write_json(file: Path, settings: Mapping[str, Any], measurement: Measurement) -> None:
    """Writes settings, versions and figures; the percentiles are in ms."""
    report = {
        "settings": dict(settings),
        "versions": {name: version(name) for name in ("jax", "flax", "numpy")},
        "percentiles_ms": {f"p{p}": measurement.percentile_ms(p) for p in (5, 50, 95, 99)},
        **dataclasses.asdict(measurement),
    }
    text = json.dumps(report, indent=1) + "\n"
    write_atomically(file, lambda stream: stream.write(text.encode()))


def _asker(policy: LocalPolicy, requests: Sequence[Mapping[str, Any]]) -> Callable[[], float]:
    """A call that answers all requests and returns how long it took [ms]."""

    def ask() -> float:
        begun_s = time.perf_counter()
        if len(requests) == 1:
            policy.infer_one(requests[0])
        else:
            policy.infer([policy.prepare(request) for request in requests])
        return (time.perf_counter() - begun_s) * 1e3

    return ask


def _device() -> tuple[str, float | None]:
    """Name of the accelerator and the most memory that was used on it [MB]."""
    import jax

    device = jax.local_devices()[0]
    statistics = device.memory_stats() or {}
    peak = statistics.get("peak_bytes_in_use")
    return f"{device.device_kind} ({device.platform})", None if peak is None else peak / _MB
