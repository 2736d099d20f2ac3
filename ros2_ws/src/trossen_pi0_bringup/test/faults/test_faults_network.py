"""The network between the controller and the arms loses, delays, repeats and mixes up datagrams."""

import json
import signal

import pytest

from fault_harness.stack import DRIVER_STALE_S, ENDS_S
from trossen_pi0_core.execution import State

TOLERATED = {
    "UDP: 30 % lost": {"loss": 0.3},
    "UDP: 5 % late, order mixed up": {"late": 0.05, "late_s": 0.01},
    "UDP: 30 % arrive twice": {"duplicates": 0.3},
    "UDP: 20-50 ms delay each way": {"delay_s": [0.02, 0.05]},
}


@pytest.mark.parametrize("name", TOLERATED)
def test_bad_network(campaign, networked, name):
    words = json.dumps(TOLERATED[name])
    with campaign.fault(networked, name, "EXECUTING") as fault:
        fault.inject(lambda: networked.arms.tell(f"network {words}"))
        try:
            fault.goes_on(2.0, State.STARVED)  # when the driver takes too long in a row, they hold
        finally:
            networked.arms.tell("network")
        fault.same_run_goes_on()


def test_no_datagram_arrives(campaign, networked):
    with campaign.fault(networked, "UDP: all lost", "FAULT") as fault:
        fault.inject(lambda: networked.arms.tell('network {"loss": 1.0}'))
        fault.holds(DRIVER_STALE_S, State.FAULT, reason="its feedback stands still")
        networked.arms.tell("network")
        fault.new_run_works()


def test_connection_cut(campaign, networked):
    with campaign.fault(networked, "TCP: connection cut", "EXECUTING") as fault:
        fault.inject(lambda: networked.arms.tell("cut 0"))
        fault.goes_on(1.0)


def test_ctrl_c_with_the_connection_cut(campaign, networked):
    """The arm cannot be told to brake: it holds, and the log says so."""
    with campaign.fault(networked, "TCP: cut, then Ctrl-C", "ended") as fault:
        networked.arms.tell("cut 0")
        before = len(networked.controller.text)
        fault.inject(lambda: networked.controller.send(signal.SIGINT))
        status = networked.controller.wait()
        fault.row.seen = f"exit {status}"
        fault.holds(ENDS_S)
        log = networked.controller.text[before:]
        assert status == 0, log
        assert "Traceback" not in log
        assert "arm left" in log
        assert networked.arms.ask("modes 1") == "IDLE"
