"""How threads of this process stand against others for the processors.

Elsewhere than on Linux nothing changes: there are no arms there.
"""

from __future__ import annotations

import contextlib
import os
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path


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
        return "only Linux has it"
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


def yield_to_others(niceness: int) -> None:
    """Lets processes of normal niceness go before this one, with all threads it has and starts.

    Args:
        niceness: 0 to 19; threads that have a higher one keep it.
    """
    if not sys.platform.startswith("linux"):
        return
    for entry in Path("/proc/self/task").iterdir():  # also those of libraries
        thread = int(entry.name)
        with contextlib.suppress(ProcessLookupError):  # it has ended meanwhile
            present = os.getpriority(os.PRIO_PROCESS, thread)
            os.setpriority(os.PRIO_PROCESS, thread, max(present, niceness))
