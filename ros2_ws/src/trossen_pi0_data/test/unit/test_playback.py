"""Episode time over real time, in virtual time."""

import pytest

from trossen_pi0_data.playback import Playback

MS = 1_000_000
S = 1000 * MS


def running(rate=1.0, start=100 * S, now=0):
    playback = Playback(start, rate)
    playback.resume(now)
    return playback


def test_it_begins_paused_at_its_start():
    playback = Playback(100 * S, 1.0)
    assert not playback.running
    assert playback.position_ns(5 * S) == 100 * S
    assert playback.wait_ns(100 * S, 5 * S) == 0
    assert playback.wait_ns(100 * S + 1, 5 * S) is None


@pytest.mark.parametrize(("rate", "wait"), [(1.0, 1000 * MS), (2.0, 500 * MS), (0.5, 2000 * MS)])
def test_a_message_is_due_by_the_rate(rate, wait):
    playback = running(rate)
    assert playback.wait_ns(101 * S, 0) == wait
    assert playback.wait_ns(101 * S, wait) == 0
    assert playback.position_ns(wait) == 101 * S


def test_without_a_rate_everything_is_due_and_time_is_that_of_the_messages():
    playback = running(0.0)
    assert playback.wait_ns(200 * S, 0) == 0
    assert playback.position_ns(3 * S) == 100 * S
    playback.published(200 * S, 3 * S)
    assert playback.position_ns(4 * S) == 200 * S


def test_a_pause_costs_no_episode_time():
    playback = running()
    playback.pause(2 * S)
    assert playback.position_ns(50 * S) == 102 * S
    assert playback.wait_ns(103 * S, 50 * S) is None
    playback.resume(50 * S)
    assert playback.wait_ns(103 * S, 50 * S) == 1 * S


def test_a_step_makes_the_messages_up_to_there_due():
    playback = Playback(100 * S, 1.0)
    playback.step(33 * MS)
    assert playback.wait_ns(100 * S + 33 * MS, 0) == 0
    assert playback.wait_ns(100 * S + 34 * MS, 0) is None
    playback.step(33 * MS)
    assert playback.position_ns(9 * S) == 100 * S + 66 * MS


def test_another_rate_goes_on_from_here():
    playback = running()
    playback.set_rate(4.0, 2 * S)
    assert playback.position_ns(2 * S) == 102 * S
    assert playback.position_ns(3 * S) == 106 * S
    playback.set_rate(0.0, 3 * S)
    assert playback.position_ns(9 * S) == 106 * S


def test_a_short_delay_is_made_up_for():
    playback = running()
    playback.published(101 * S, 1 * S + 90 * MS)
    assert playback.lag_ns == 0
    assert playback.position_ns(2 * S) == 102 * S


def test_lost_time_is_not_hurried_after():
    playback = running()
    playback.published(101 * S, 3 * S)  # 2 s late, of which 0.1 s are made up for
    assert playback.lag_ns == 1900 * MS
    assert playback.position_ns(3 * S) == 101 * S + 100 * MS
    assert playback.wait_ns(102 * S, 3 * S) == 900 * MS


def test_seeking_keeps_running():
    playback = running()
    playback.seek(50 * S, 7 * S)
    assert playback.position_ns(8 * S) == 51 * S
    playback.pause(8 * S)
    playback.seek(60 * S, 9 * S)
    assert playback.position_ns(20 * S) == 60 * S
