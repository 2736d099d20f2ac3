"""Flags for signal handlers."""

from __future__ import annotations

import os
import signal
import threading
import time

import pytest

from trossen_pi0_core.signals import SignalFlag


def test_waits_no_longer_than_told():
    flag = SignalFlag()
    assert not flag.wait(0.01)
    assert not flag.is_set()


def test_all_who_wait_are_woken_and_later_ones_do_not_wait():
    flag, woken = SignalFlag(), []
    threads = [threading.Thread(target=lambda: woken.append(flag.wait(30.0))) for _ in range(3)]
    for thread in threads:
        thread.start()
    flag.set()
    for thread in threads:
        thread.join(10.0)
    assert woken == [True] * 3
    assert flag.is_set()
    assert flag.wait(30.0)


@pytest.mark.timeout(30)
def test_a_handler_may_set_it_while_its_thread_waits_or_sets_it():
    flag, ended = SignalFlag(), threading.Event()
    before = signal.signal(signal.SIGUSR1, lambda *_: flag.set())

    def disturb():
        while not ended.is_set():
            os.kill(os.getpid(), signal.SIGUSR1)
            time.sleep(1e-5)

    disturber = threading.Thread(target=disturb)
    disturber.start()
    try:
        assert flag.wait(10.0)
        end_s = time.monotonic() + 1.0
        while time.monotonic() < end_s:
            assert flag.wait(0.001)
    finally:
        ended.set()
        disturber.join(10.0)
        signal.signal(signal.SIGUSR1, before)
