"""Serves two simulated arms until stdin ends; a process of its own, to be killed and frozen.

Usage: ``python arm_servers.py LEFT_ADDRESS RIGHT_ADDRESS``. Says "ready". Takes lines such as
``fault 0 overheated``, ``freeze 1`` (it falls silent), ``stall 1`` (it repeats its last answer),
``thaw 1``, ``end 0`` and ``serve 0`` (its ports), and says "done" after each; after ``modes 0`` it
says the modes of that arm's joints.
"""

import sys

from trossen_pi0_sim.arm_server import ArmServer
from trossen_pi0_sim.simulation import Simulation
from trossen_pi0_sim.world import World


def main() -> None:
    simulation = Simulation(World(visuals=False), sys.argv[1:3])
    simulation.start()
    say("ready")
    for line in sys.stdin:
        action, arm, text = [*line.strip().split(maxsplit=2), "", ""][:3]
        server = simulation.servers[int(arm)]
        if action == "fault":
            server.inject_fault(text)
        elif action == "freeze":
            server.freeze(silent=True)
        elif action == "stall":
            server.freeze()
        elif action == "thaw":
            server.thaw()
        elif action == "end":
            server.stop()
        elif action == "serve":
            simulation.servers[int(arm)] = ArmServer(server.sim, server.host)
            simulation.servers[int(arm)].start()
        if action == "modes":
            say(" ".join(sorted({mode.name for mode in server.modes})))
        else:
            say("done")
    simulation.stop()


def say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
