"""What an evaluation found, as plain figures: the content of ``offline.json``."""

from __future__ import annotations

import dataclasses
import json
import sys
from collections.abc import Mapping
from datetime import datetime, timezone
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trossen_pi0_core.errors import DatasetError
from trossen_pi0_training.offline.evaluation import HOLD, POLICY, Evaluation, Scores
from trossen_pi0_training.offline.metrics import Errors, Grip, normalised
from trossen_pi0_training.offline.options import Options
from trossen_pi0_training.offline.plan import GRIPPERS
from trossen_pi0_training.offline.predictors import AskedPolicy
from trossen_pi0_training.offline.sources import JOINTS
from trossen_pi0_training.survey import is_gripper

FORMAT = 1
"""Of the file; other numbers are refused."""

_VERSIONS = ("jax", "flax", "numpy")


def figures(found: Evaluation, policy: AskedPolicy, options: Options) -> dict[str, Any]:
    """All figures. Errors are in rad, of carriages in m; normalised ones are parts of the range."""
    names = JOINTS.dataset_names
    motion = found.plan.motion
    return {
        "format": FORMAT,
        "made": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "versions": _versions(),
        "policy": {
            "source": options.checkpoint or options.server,
            "kind": "checkpoint" if options.checkpoint else "server",
            "metadata": policy.metadata,
        },
        "settings": _settings(options, found),
        "joints": list(names),
        "units": ["m" if is_gripper(name) else "rad" for name in names],
        "range": motion.scale,
        "moments": found.scores.moments,
        "predictors": {
            name: _predictor(errors, motion.scale, found.executed)
            for name, errors in found.scores.errors.items()
        },
        "sample_spread": _spread(found.scores),
        "first_row": {
            "policy_mean": found.scores.jumps.mean,
            "policy_most": found.scores.jumps.most,
            "recorded_mean": found.scores.recorded_jumps.mean,
            "recorded_most": found.scores.recorded_jumps.most,
        },
        "grippers": _grippers(found, options.rate_hz),
        "prompts": [
            {"prompt": prompt, **_short(scores, motion.scale, found.executed)}
            for prompt, scores in found.by_prompt.items()
        ],
        "episodes": [
            {
                "name": each.name,
                "prompt": each.prompt,
                "outcome": each.outcome,
                "frames": each.frames,
                "missing": each.missing,
                "notes": each.notes,
                **_short(each.scores, motion.scale, found.executed),
                "times_s": each.times_s,
                "moment_errors": each.moment_errors,
            }
            for each in found.episodes
        ],
        "left_out": found.left_out,
        "worst": [
            {
                "episode": each.episode,
                "frame": each.frame,
                "time_s": each.time_s,
                "error": each.error,
                "hold_error": each.hold_error,
                "joint_errors": each.joint_errors,
            }
            for each in found.worst.moments
        ],
        "timing": timing(policy),
    }


def timing(policy: AskedPolicy) -> dict[str, float]:
    """How long the answers took [ms], and getting ready [s]."""
    times = policy.answer_ms
    return {
        "answers": len(times),
        "ready_s": policy.ready_s,
        "first_ms": times[0],
        **{f"p{part}_ms": float(np.percentile(times, part)) for part in (5, 50, 95, 99)},
        "most_ms": max(times),
        "preparation_p50_ms": float(np.median(policy.preparation_ms)),
    }


def read_figures(path: Path) -> dict[str, Any]:
    """Figures of another evaluation; values that are not known are None.

    Raises:
        DatasetError: the file cannot be read, is none of these, or of other joints.
    """
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DatasetError(f"{path} cannot be read: {error}") from error
    if not isinstance(found, dict) or found.get("format") != FORMAT or "predictors" not in found:
        raise DatasetError(f"{path} holds no figures of an offline evaluation, format {FORMAT}")
    if found.get("joints") != list(JOINTS.dataset_names):
        raise DatasetError(f"{path} is of other joints: {found.get('joints')}")
    return found


def differences(ours: Mapping[str, Any], theirs: Mapping[str, Any]) -> list[str]:
    """Why two evaluations are not of the same moments, judged alike; empty when they are."""
    found = [
        f"{name} {theirs['settings'].get(name)} instead of {value}"
        for name, value in ours["settings"].items()
        if name in ("stride", "horizon", "executed", "rate_hz", "samples", "max_frames", "cameras")
        and theirs["settings"].get(name) != value
    ]
    names = [{each["name"]: each["moments"] for each in one["episodes"]} for one in (ours, theirs)]
    if names[0] != names[1]:
        found.append("other episodes or moments")
    return found


def _predictor(
    errors: Errors, scale: NDArray[np.float64], executed: tuple[int, int]
) -> dict[str, Any]:
    curve = errors.curve
    return {
        "normalised": normalised(errors.mean_abs(), scale),
        "normalised_executed": normalised(errors.mean_abs(*executed), scale),
        "normalised_steps": normalised(curve, scale),
        "mean_abs": errors.mean_abs(),
        "mean_abs_executed": errors.mean_abs(*executed),
        "rmse": errors.rmse(),
        "p95": errors.quantile(0.95),
        "bias": errors.bias(),
        "steps": curve,
        "rows": errors.rows,
    }


def _short(scores: Scores, scale: NDArray[np.float64], executed: tuple[int, int]) -> dict[str, Any]:
    ours, resting = scores.errors[POLICY], scores.errors[HOLD]
    return {
        "moments": scores.moments,
        "normalised": normalised(ours.mean_abs(), scale),
        "normalised_executed": normalised(ours.mean_abs(*executed), scale),
        "hold": normalised(resting.mean_abs(), scale),
    }


def _spread(scores: Scores) -> NDArray[np.float64] | None:
    """Standard deviation between the samples of a moment, shape (horizon, joints) [rad; m]."""
    rows = scores.errors[HOLD].rows[:, None]
    if not scores.spread.any():
        return None
    return np.where(rows > 0, scores.spread / np.maximum(rows, 1), np.nan)


def _grippers(found: Evaluation, rate_hz: float) -> list[dict[str, Any]]:
    middles = found.plan.motion.grip_middle
    return [
        {
            "joint": JOINTS.dataset_names[column],
            "middle_m": middle,
            **_grip(found.scores.grips[column], rate_hz),
        }
        for column, middle in zip(GRIPPERS, middles, strict=True)
    ]


def _grip(grip: Grip, rate_hz: float) -> dict[str, Any]:
    late_s = np.array(grip.steps) / rate_hz
    return {
        "agreement": grip.agreeing / grip.rows if grip.rows else None,
        "changes": grip.changes,
        "found": len(grip.steps),
        "missed": grip.missed,
        "invented": grip.invented,
        "late_median_s": float(np.median(late_s)) if len(late_s) else None,
        "off_p90_s": float(np.percentile(np.abs(late_s), 90)) if len(late_s) else None,
    }


def _settings(options: Options, found: Evaluation) -> dict[str, Any]:
    told = dataclasses.asdict(options)
    for name in ("checkpoint", "server", "output", "compare", "api_key_file", "compilation_cache"):
        del told[name]
    return {
        **told,
        "cameras": found.plan.cameras,
        "horizon": found.horizon,
        "executed": found.executed,
    }


def _versions() -> dict[str, str]:
    known = {"python": sys.version.split()[0]}
    for name in _VERSIONS:
        try:
            known[name] = version(name)
        except PackageNotFoundError:  # a server is asked without JAX
            continue
    return known
