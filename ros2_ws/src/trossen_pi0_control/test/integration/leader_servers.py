"""Serves two simulated leader arms until stdin ends; a process of its own, to be killed and frozen.

Usage: ``python leader_servers.py LEFT_ADDRESS RIGHT_ADDRESS``. Says "ready". Takes lines such as
``fault 0 overheated``, ``freeze 1`` (it falls silent), ``stall 1`` (it repeats its last answer),
``thaw 1``, and those of the hand: ``swing 0.2 0.5`` (amplitude [rad] and frequency [Hz] of the
first joints), ``turn 0.3 1.0`` (all first joints by an angle [rad] in a time [s]), ``jump 0.3``
(the same at once) and ``rest``. Says "done" after each. ``modes 0`` says the modes of that arm's
joints, ``efforts 0`` what it is told to push with.
"""

import sys

import numpy as np

from trossen_pi0_sim.hand import Reach, Rest, Swing
from trossen_pi0_sim.leader_server import HeldArm, LeaderServer

START = (0.0, np.pi / 3, np.pi / 6, np.pi / 5, 0.0, 0.0, 0.02)
AMPLITUDES = np.array([1.0, 0.5, 0.5, 0.6, 0.6, 1.0, 0.04])
FREQUENCIES = np.array([1.0, 0.8, 1.1, 1.3, 0.9, 0.7, 1.0])
AT_ONCE_S = 1e-6


def main() -> None:
    arms = [HeldArm(name, START) for name in ("leader left", "leader right")]
    servers = [LeaderServer(arm, address) for arm, address in zip(arms, sys.argv[1:3], strict=True)]
    for server in servers:
        server.start()
    say("ready")
    for line in sys.stdin:
        action, *words = line.strip().split(maxsplit=2)
        if action in ("swing", "turn", "jump", "rest"):
            for arm in arms:
                lead(arm, action, [float(word) for word in words])
            say("done")
            continue
        server = servers[int(words[0])]
        if action == "modes":
            say(" ".join(sorted({mode.name for mode in server.modes})))
            continue
        if action == "efforts":
            say(" ".join(str(value) for value in server.arm.efforts))
            continue
        if action == "fault":
            server.inject_fault(words[1])
        elif action == "freeze":
            server.freeze(silent=True)
        elif action == "stall":
            server.freeze()
        elif action == "thaw":
            server.thaw()
        say("done")
    for server in servers:
        server.stop()


def lead(arm: HeldArm, action: str, values: list[float]) -> None:
    def motion(at, now_s):
        if action == "rest":
            return Rest(at)
        if action == "swing":
            amplitude, frequency = values
            return Swing(at, amplitude * AMPLITUDES, frequency * FREQUENCIES, now_s)
        goal = at.copy()
        goal[0] += values[0]
        return Reach(at, goal, now_s, values[1] if action == "turn" else AT_ONCE_S)

    arm.lead(motion)


def say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
