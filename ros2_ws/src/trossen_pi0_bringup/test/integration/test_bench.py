"""The benchmark's own arithmetic and refusals; its figures are not tested."""

import pytest

from trossen_pi0_bringup.bench import Counts, main
from trossen_pi0_msgs.msg import PolicyStatus, SimStatus
from trossen_pi0_ros.convert import time_msg

SECOND = 1_000_000_000


def counts(published, received):
    """From (time [s], count) pairs."""
    result = Counts()
    for at, count in published:
        message = SimStatus(images_published=count)
        message.header.stamp = time_msg(round(at * SECOND))
        result.add_sim(message)
    for at, count in received:
        message = PolicyStatus(images_received=count)
        message.header.stamp = time_msg(round(at * SECOND))
        result.add_policy(message)
    return result


def test_losses_are_counted_over_the_time_that_both_counters_cover():
    # 100 pictures/s are published and 85 of them received, looked at in common from 1 s to 3.5 s.
    published = [(1.0, 500), (2.0, 600), (3.0, 700), (4.0, 800)]
    received = [(0.5, 415), (1.5, 500), (2.5, 585), (3.5, 670)]
    lost, sent = counts(published, received).lost()
    assert sent == pytest.approx(250)
    assert lost == pytest.approx(37.5)


def test_repeated_statuses_are_taken_once():
    result = counts([(1.0, 1), (1.0, 1), (2.0, 2)], [])
    assert len(result.published) == 2


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["sizes:=640x480"], "sizes: need width x height x rate such as 640x480x30"),
        (["sizes:=5000x480x30"], "camera_width: 5000 lies outside"),
        (["size:=640x480x30"], "unknown argument 'size'"),
    ],
)
def test_bad_arguments_end_with_two(words, message, capsys, tmp_path):
    assert main([*words, f"run_dir:={tmp_path / 'bench'}"]) == 2
    assert message in capsys.readouterr().out
