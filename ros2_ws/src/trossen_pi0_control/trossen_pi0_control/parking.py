"""The arms' last motion before they brake."""

from __future__ import annotations

import logging
import threading
import time

from trossen_pi0_control.control_loop import ControlLoop
from trossen_pi0_control.moves import MoveRequest
from trossen_pi0_core.errors import MoveRejectedError
from trossen_pi0_core.signals import SignalFlag

_log = logging.getLogger(__name__)

_POLL_S = 0.01


def park(
    loop: ControlLoop, pose: str, timeout_s: float, skip: threading.Event | SignalFlag
) -> None:
    """Ends what is under way and moves the arms to a pose, before ``loop.stop``; blocks.

    Says in the log when the arms may not move, as in FAULT and ESTOP, or do not get there.

    Args:
        loop: started.
        pose: name of a pose.
        timeout_s: longest time for it [s].
        skip: when set, the wait ends and the arms come to rest.

    Raises:
        DriverError: the loop is not started.
    """
    loop.hold("the arm controller stops")
    try:
        move = loop.start_move(MoveRequest(pose))
    except MoveRejectedError as error:
        _log.warning("the arms do not move to pose '%s': %s", pose, error)
        return
    _log.info("moving to pose '%s' before the arms brake", pose)
    deadline_s = time.monotonic() + timeout_s
    while move.outcome is None and not skip.wait(_POLL_S) and time.monotonic() < deadline_s:
        pass
    if move.outcome is None:
        loop.stop_move(move, "the motion before the arms brake has ended early")
    if move.outcome is None or not move.outcome.success:
        _log.warning("the arms have not reached pose '%s'", pose)
