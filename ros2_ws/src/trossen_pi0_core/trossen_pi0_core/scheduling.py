"""How threads of this process stand against others for the processors. Linux only."""

from __future__ import annotations

import contextlib
import os
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

_ELSEWHERE = "only Linux has it"


def request_realtime(priority: int) -> str:
    """Lets the calling thread go before all ordinary threads of the machine.

    It gets SCHED_FIFO, as ros2_control's controllers do; threads that it starts do not. The limit
    ``rtprio`` (limits.conf, ``ulimit -r``) must allow it, or CAP_SYS_NICE.

    Args:
        priority: 1 to 99; 0: as it is.

    Returns:
        why the system refuses; empty when it is granted.
    """
    if not priority:
        return ""
    if not sys.platform.startswith("linux"):
        return _ELSEWHERE
    policy = os.SCHED_FIFO | os.SCHED_RESET_ON_FORK
    try:
        os.sched_setscheduler(0, policy, os.sched_param(priority))
    except OSError as error:
        return error.strerror or str(error)
    return ""


def realtime_refusal(priority: int) -> str:
    """What ``request_realtime`` would return; changes nothing."""
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(request_realtime, priority).result()


def yield_to_others(niceness: int) -> str:
    """Lets processes of normal niceness go before this one, with all threads it has and starts.

    Args:
        niceness: 0 to 19; one that is lower than the present one needs rights.

    Returns:
        why the system refuses; empty when it is done.
    """
    if not sys.platform.startswith("linux"):
        return _ELSEWHERE
    try:
        for entry in Path("/proc/self/task").iterdir():  # also those of libraries
            with contextlib.suppress(ProcessLookupError):  # it has ended meanwhile
                os.setpriority(os.PRIO_PROCESS, int(entry.name), niceness)
    except OSError as error:
        return error.strerror or str(error)
    return ""
