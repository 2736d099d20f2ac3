"""What is said of settings that cannot do what they are for."""

from __future__ import annotations

import dataclasses

import pytest

from trossen_pi0_core.contract import NANOSECONDS, Execution
from trossen_pi0_policy.advice import Advisor
from trossen_pi0_policy.backends.base import PrefixSupport
from trossen_pi0_policy.state import RunSettings

S = NANOSECONDS
ASYNC = RunSettings("", S // 30, 25, 60 * S, 5 * S)
RTC = dataclasses.replace(ASYNC, execution=Execution.RTC)
BLOCKING = dataclasses.replace(ASYNC, execution=Execution.BLOCKING)
NONE, GUIDED = PrefixSupport.NONE, PrefixSupport.GUIDED
UNSUPPORTED = (
    "execution rtc: the policy cannot agree with rows that are under way; async is in force"
)


@pytest.mark.parametrize("settings", [ASYNC, RTC, BLOCKING])
def test_settings_that_work_need_no_advice(settings):
    assert Advisor().look(settings, GUIDED, 50, 9) == ()


def test_nothing_is_said_before_anything_is_known():
    assert Advisor().look(dataclasses.replace(RTC, rate_of_inference=900), None, 0, None) == ()


def test_chunks_that_never_overlap():
    settings = dataclasses.replace(ASYNC, rate_of_inference=50)
    assert Advisor().look(settings, NONE, 50, 9) == (
        (
            "chunks never overlap: rate_of_inference 50 + delay 9 rows leaves -9 of 50 rows, so "
            "the arms wait between chunks and there is no cross-fade"
        ),
    )


def test_rtc_without_overlap():
    settings = dataclasses.replace(RTC, rate_of_inference=41)
    assert Advisor().look(settings, GUIDED, 50, 9) == (
        (
            "rtc has nothing to agree with: rate_of_inference 41 + delay 9 rows leaves no overlap "
            "in 50 rows"
        ),
    )
    assert Advisor().look(dataclasses.replace(RTC, rate_of_inference=40), GUIDED, 50, 9) == ()


def test_blocking_needs_no_overlap():
    assert Advisor().look(dataclasses.replace(BLOCKING, rate_of_inference=50), NONE, 50, 30) == ()


def test_a_rate_beyond_the_horizon_is_named_with_what_is_used():
    settings = dataclasses.replace(BLOCKING, rate_of_inference=60)
    assert Advisor().look(settings, NONE, 50, 9) == (
        (
            "rate_of_inference 60 is more than a chunk has rows: the policy's chunks have 50 rows, "
            "50 is used"
        ),
    )


def test_rtc_without_support_is_said_once_for_each_activation():
    advisor = Advisor()
    assert advisor.look(RTC, NONE, 50, 9) == (UNSUPPORTED,)
    slower = dataclasses.replace(RTC, rate_of_inference=20)
    assert advisor.look(slower, NONE, 50, 9) == (UNSUPPORTED,)
    assert advisor.look(ASYNC, NONE, 50, 9) == ()
    assert advisor.look(RTC, NONE, 50, 9) == (UNSUPPORTED,)


def test_what_was_said_stays_as_it_is_while_the_delay_changes():
    advisor = Advisor()
    settings = dataclasses.replace(RTC, rate_of_inference=41)
    said = advisor.look(settings, GUIDED, 50, 9)
    assert advisor.look(settings, GUIDED, 50, 8) == said
    assert advisor.look(settings, GUIDED, 50, 12) == said
    assert advisor.look(RTC, GUIDED, 50, 12) == ()
