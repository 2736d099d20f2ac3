"""Pacing and frame times with clocks made of numbers."""

from __future__ import annotations

import math

import numpy as np
import pytest

from trossen_pi0_sim.cameras import FrameClock, intrinsics
from trossen_pi0_sim.clocks import ClockOffset
from trossen_pi0_sim.pacing import Pacer
from trossen_pi0_sim.scene import build_model

TICK = 0.0078125  # 1/128, so that sums are exact


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_ticks_come_at_their_times() -> None:
    clock = Clock()
    pacer = Pacer(TICK, clock)
    assert pacer.ticks_due() == 1
    assert pacer.ticks_due() == 0
    assert pacer.wait_s() == TICK
    clock.now += TICK
    assert pacer.wait_s() == 0.0
    assert pacer.ticks_due() == 1


def test_a_delay_is_caught_up() -> None:
    clock = Clock()
    pacer = Pacer(TICK, clock)
    pacer.ticks_due()
    clock.now += 8 * TICK
    assert pacer.ticks_due() == 8
    assert pacer.due_s == clock.now + TICK


def test_a_long_delay_is_caught_up_in_part() -> None:
    clock = Clock()
    pacer = Pacer(TICK, clock, catch_up_s=16 * TICK)
    pacer.ticks_due()
    clock.now += 128 * TICK
    assert pacer.ticks_due() == 17
    assert pacer.ticks_due() == 0


def run(pacer: Pacer, clock: Clock, seconds: float, step_s: float) -> None:
    end = clock.now + seconds
    while clock.now < end:
        pacer.ticks_due()
        clock.now += step_s


def test_real_time_factor_is_one_when_ticks_keep_up() -> None:
    clock = Clock()
    pacer = Pacer(TICK, clock)
    run(pacer, clock, 3.0, TICK)
    assert pacer.real_time_factor == pytest.approx(1.0, abs=0.01)


def test_real_time_factor_tells_what_was_lost_and_recovers() -> None:
    clock = Clock()
    pacer = Pacer(TICK, clock, catch_up_s=0.1)
    run(pacer, clock, 3.0, 0.2)  # 13 of 25.6 ticks are caught up
    assert pacer.real_time_factor == pytest.approx(0.508, abs=0.005)
    run(pacer, clock, 3.0, TICK)
    assert pacer.real_time_factor == pytest.approx(1.0, abs=0.01)


def test_frames_keep_their_grid() -> None:
    frames = FrameClock(32.0, 10.0)
    frames.take(10.0)
    assert frames.wait_s(10.0) == 1 / 32
    frames.take(10.0 + 1.5 / 32)
    assert frames.wait_s(10.0 + 1.5 / 32) == 0.5 / 32
    assert frames.skipped == 0


def test_frames_that_come_too_late_are_skipped_and_not_queued() -> None:
    frames = FrameClock(32.0, 10.0)
    frames.take(10.0)
    frames.take(10.0 + 4.25 / 32)  # frames 1, 2 and 3 have passed, this is 4
    assert frames.skipped == 3
    assert frames.wait_s(10.0 + 4.25 / 32) == 0.75 / 32


def test_intrinsics_of_the_high_camera() -> None:
    got = intrinsics(build_model(), "cam_high", 640, 480)
    assert (got.width, got.height, got.centre) == (640, 480, (319.5, 239.5))
    np.testing.assert_allclose(
        got.matrix, [[376.7245, 0, 319.5], [0, 376.7245, 239.5], [0, 0, 1]], atol=1e-3
    )
    assert 2 * math.degrees(math.atan(240 / got.focal)) == pytest.approx(65.0)


def test_clock_offset_takes_the_reading_that_was_not_held_up() -> None:
    now = 0
    delays = iter([900, 5, 700, 800, 600, 2, 2, 2, 2, 2])

    def monotonic() -> int:
        return now

    def ros() -> int:
        nonlocal now
        before = now
        now += next(delays)
        return before + 1_000_000

    offset = ClockOffset(monotonic, ros)
    assert abs(offset.ns - 1_000_000) <= 3
    offset.refresh()
    assert abs(offset.ns - 1_000_000) <= 1
