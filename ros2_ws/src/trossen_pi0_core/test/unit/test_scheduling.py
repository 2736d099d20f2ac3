"""Priorities of a process' threads, asked of the kernel."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from typing import Any

import pytest

from trossen_pi0_core.scheduling import realtime_refusal

PROGRAM = """
import json, os, threading
from pathlib import Path
from trossen_pi0_core import scheduling

def kernel(thread):
    return [os.sched_getscheduler(thread) & ~os.SCHED_RESET_ON_FORK,
            os.sched_getparam(thread).sched_priority, os.getpriority(os.PRIO_PROCESS, thread)]

def start():
    thread = threading.Thread(target=end.wait)
    thread.start()
    return thread.native_id

end = threading.Event()
before = start()
answer = {call}
after = start()
print(json.dumps([answer, *map(kernel, (before, os.getpid(), after))]))
end.set()
"""
NORMAL = [os.SCHED_OTHER, 0, os.getpriority(os.PRIO_PROCESS, 0)]
WITHOUT_RIGHTS = ("setpriv", "--bounding-set=-sys_nice", "--inh-caps=-sys_nice")


def answer_and_threads(call: str, *before: str) -> list[Any]:
    """The answer; policy, priority, niceness of a thread before, the caller, a thread after."""
    words = [*before, sys.executable, "-c", PROGRAM.replace("{call}", call)]
    told = subprocess.run(words, capture_output=True, text=True, timeout=30.0, check=True)
    return json.loads(told.stdout)


def without_rights() -> tuple[str, ...]:
    limited = ("prlimit", "--rtprio=0", "--nice=0")
    return limited if os.geteuid() else (*limited, *WITHOUT_RIGHTS)


@pytest.mark.skipif(bool(realtime_refusal(50)), reason="this user may not have real-time priority")
def test_the_calling_thread_alone_is_realtime() -> None:
    found = answer_and_threads("scheduling.request_realtime(37)")
    assert found == ["", NORMAL, [os.SCHED_FIFO, 37, NORMAL[2]], NORMAL]


@pytest.mark.skipif(shutil.which("setpriv") is None, reason="no setpriv to take rights away")
@pytest.mark.parametrize("function", ["request_realtime", "realtime_refusal"])
def test_a_refusal_is_told_and_changes_nothing(function: str) -> None:
    found = answer_and_threads(f"scheduling.{function}(37)", *without_rights())
    assert found == ["Operation not permitted", NORMAL, NORMAL, NORMAL]


@pytest.mark.parametrize("call", ["realtime_refusal(37)", "request_realtime(0)"])
def test_nothing_is_changed_by_asking_or_for_no_priority(call: str) -> None:
    assert answer_and_threads(f"scheduling.{call}")[1:] == [NORMAL] * 3


def test_all_threads_present_and_future_yield() -> None:
    nice = [os.SCHED_OTHER, 0, max(7, NORMAL[2])]
    assert answer_and_threads("scheduling.yield_to_others(7)")[1:] == [nice] * 3


def test_a_process_that_is_nicer_stays_so() -> None:
    found = answer_and_threads("scheduling.yield_to_others(7)", "nice", "-n", "19")
    assert found[1:] == [[os.SCHED_OTHER, 0, 19]] * 3
