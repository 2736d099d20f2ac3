"""One line that says how an episode goes."""

from __future__ import annotations

import math
import time

from rich.console import Console

from trossen_pi0_bringup.episodes import STAGES, EpisodeResult, EpisodeRunner
from trossen_pi0_msgs.msg import ControllerStatus, PolicyStatus
from trossen_pi0_ros.states import state_names

_CONTROLLER, _POLICY = state_names(ControllerStatus), state_names(PolicyStatus)


class Progress:
    """Rewrites one line on a terminal; elsewhere prints a line every few seconds."""

    def __init__(self, console: Console, runner: EpisodeRunner, every_s: float = 3.0) -> None:
        self._console = console
        self._runner = runner
        self._every_s = every_s
        self._shown_s = -math.inf
        self._seed: int | None = None
        self._begun_s = time.monotonic()

    def say(self, text: str) -> None:
        """Prints a line of its own."""
        self._console.print(text, markup=False)

    def tick(self, seed: int) -> str:
        """Shows the present state, if it is time to, and returns the first part of it."""
        now = time.monotonic()
        if seed != self._seed:
            self._seed, self._begun_s = seed, now
        seen = self._runner.recording
        stage = STAGES.get(seen.sim.stage, "?") if seen.sim is not None else "?"
        caption = f"seed {seed} | {now - self._begun_s:5.1f} s | stage {stage:11s}"
        terminal = self._console.is_terminal
        if now - self._shown_s >= (0.2 if terminal else self._every_s):
            self._shown_s = now
            line = " | ".join([caption, *self._details()])
            if terminal:
                self._console.print(line, markup=False, end="\r", overflow="crop", no_wrap=True)
            else:
                self._console.print(line, markup=False)
        return caption

    def _details(self) -> list[str]:
        seen = self._runner.recording
        parts: list[str] = []
        if seen.sim is not None:
            parts.append(f"real time x{seen.sim.real_time_factor:.2f}")
        if seen.policy is not None:
            parts.append(
                f"policy {_POLICY.get(seen.policy.state, '?').lower()} #{seen.policy.chunk_id}"
            )
            if math.isfinite(seen.policy.inference_latency_s):
                parts.append(f"infer {seen.policy.inference_latency_s * 1e3:.0f} ms")
        if seen.controller is not None:
            parts.append(f"arms {_CONTROLLER.get(seen.controller.state, '?').lower()}")
        return parts


def describe_result(result: EpisodeResult) -> str:
    """The result of an episode in one line."""
    verdict = "SUCCESS" if result.success else f"FAILURE: {result.reason}"
    return (
        f"seed {result.seed} ({result.variant}): {verdict} "
        f"[{result.duration_s:.1f} s, {result.chunks} chunks, stage {result.stage}]"
    )
