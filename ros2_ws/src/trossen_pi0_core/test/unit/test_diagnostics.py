"""What figures make of an entry in /diagnostics."""

import math

import pytest

from trossen_pi0_core.diagnostics import Aspect, Bounds, Level, RecentCounts, StreamWatch
from trossen_pi0_core.errors import ParameterError
from trossen_pi0_core.parameters import PolicyParameters, SimParameters
from trossen_pi0_core.parameters.bounds import bounds_of

S = 1_000_000_000


@pytest.mark.parametrize(
    ("value", "high", "low"),
    [
        (0.9, Level.OK, Level.ERROR),
        (1.0, Level.WARN, Level.ERROR),
        (1.5, Level.WARN, Level.ERROR),
        (2.0, Level.ERROR, Level.ERROR),
        (math.nan, Level.OK, Level.OK),
    ],
)
def test_bounds_belong_to_the_worse_side(value, high, low):
    assert Bounds(1.0, 2.0).high(value) == high
    assert Bounds(3.0, 2.0).low(value) == low
    assert Bounds(math.nan, math.nan).high(value) == Level.OK


def test_an_entry_has_the_worst_level_and_says_why_the_worst_first():
    aspect = Aspect("timing", "192.168.1.5", fine="in time")
    assert (aspect.level, aspect.message) == (Level.OK, "in time")
    aspect.high("lateness [s]", 0.01, Bounds(0.005, 0.05))
    aspect.low("rate [Hz]", 3.0, Bounds(20.0, 5.0))
    aspect.high("age [s]", math.nan, Bounds(0.1, 0.2))
    aspect.figures({"ticks": 7})
    assert aspect.level == Level.ERROR
    assert aspect.message == (
        "rate [Hz] is 3, ERROR at or below 5; lateness [s] is 0.01, WARN from 0.005"
    )
    assert list(aspect.values) == ["lateness [s]", "rate [Hz]", "age [s]", "ticks"]


def test_what_is_fine_gives_way_to_what_is_not():
    aspect = Aspect("state")
    aspect.say(Level.OK, "EXECUTING")
    assert aspect.message == "EXECUTING"
    aspect.say(Level.WARN, "starved")
    assert (aspect.level, aspect.message) == (Level.WARN, "starved")


def test_counts_are_those_of_the_last_minute():
    recent = RecentCounts(window_s=60.0)
    assert recent.risen({"events": 5}, 0.0) == {"events": 0}  # from before
    assert recent.risen({"events": 7}, 30.0) == {"events": 2}
    assert recent.risen({"events": 7}, 60.0) == {"events": 2}
    assert recent.risen({"events": 8}, 89.0) == {"events": 3}
    assert recent.risen({"events": 8}, 91.0) == {"events": 1}
    assert recent.risen({"events": 8}, 200.0) == {"events": 0}


def test_counters_that_were_set_back_begin_anew():
    recent = RecentCounts()
    recent.risen({"events": 5}, 0.0)
    assert recent.risen({"events": 2}, 1.0) == {"events": 2}
    assert recent.risen({"events": 3}, 2.0) == {"events": 3}


def test_rate_and_age_of_a_stream():
    watch = StreamWatch(window_s=2.0)
    assert not watch.ever
    assert math.isnan(watch.age_s(0))
    for i in range(91):  # 30 Hz for three seconds
        watch.took(round(i * S / 30), i / 30)
    assert math.isnan(StreamWatch().rate_hz(3.0))
    assert watch.rate_hz(3.0) == pytest.approx(30.0, abs=0.5)
    assert watch.rate_hz(4.0) == pytest.approx(15.0, abs=0.5)  # silent for a second
    assert watch.rate_hz(5.5) == 0.0
    assert watch.age_s(5 * S) == pytest.approx(2.0)


def graded(watch, now_s, now_ns):
    aspect = Aspect("cam_high")
    watch.grade(aspect, Bounds(20.0, 5.0), Bounds(0.2, 0.5), now_s=now_s, now_ns=now_ns)
    return aspect


def test_a_stream_is_stale_before_its_first_message_and_not_judged_too_soon():
    watch = StreamWatch()
    assert graded(watch, 9.0, 0).level == Level.STALE
    watch.took(0, 10.0)
    assert graded(watch, 10.1, 0).level == Level.OK  # one picture says nothing of the rate
    assert graded(watch, 12.5, 0).level == Level.ERROR
    for i in range(60):
        watch.took(3 * S, 13.0 + i / 30)
    assert graded(watch, 15.0, 3 * S).level == Level.OK
    old = graded(watch, 15.0, round(3.3 * S))
    assert (old.level, old.message) == (Level.WARN, "age [s] is 0.3, WARN from 0.2")


def test_an_error_must_not_come_before_its_warning():
    assert bounds_of(PolicyParameters(), "picture_rate") == Bounds(20.0, 5.0)
    with pytest.raises(ParameterError, match=r"error_picture_age_s \(0.1\) must not be less than"):
        PolicyParameters(error_picture_age_s=0.1)
    with pytest.raises(ParameterError, match=r"error_picture_rate \(25\) must not be greater than"):
        PolicyParameters(error_picture_rate=25.0)
    with pytest.raises(ParameterError, match="error_real_time_factor"):
        SimParameters(error_real_time_factor=0.99)
