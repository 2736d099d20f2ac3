"""Tables of arguments by launch file and by command."""

from __future__ import annotations

from trossen_pi0_bringup.arguments import LAUNCH_ARGUMENTS, Argument
from trossen_pi0_bringup.evaluation.stack import EVALUATION_ARGUMENTS
from trossen_pi0_bringup.record_expert import RECORD_EXPERT_ARGUMENTS
from trossen_pi0_bringup.replay import REPLAY_ARGUMENTS
from trossen_pi0_bringup.replay_nodes import REPLAY_LAUNCH_ARGUMENTS, REPLAY_LAUNCH_FILE
from trossen_pi0_bringup.sim import SIM_ARGUMENTS
from trossen_pi0_bringup.soak import SOAK_ARGUMENTS
from trossen_pi0_bringup.teleop import TELEOP_ARGUMENTS

LAUNCH_FILES: dict[str, tuple[Argument, ...]] = {
    "bimanual.launch.py": LAUNCH_ARGUMENTS,
    REPLAY_LAUNCH_FILE: REPLAY_LAUNCH_ARGUMENTS,
}
"""Launch file -> its arguments."""

MODULE_ARGUMENTS: dict[str, tuple[Argument, ...]] = {
    "trossen_pi0_bringup.sim": SIM_ARGUMENTS,
    "trossen_pi0_bringup.teleop": TELEOP_ARGUMENTS,
    "trossen_pi0_bringup.record_expert": RECORD_EXPERT_ARGUMENTS,
    "trossen_pi0_bringup.replay": REPLAY_ARGUMENTS,
    "trossen_pi0_bringup.evaluation": EVALUATION_ARGUMENTS,
    "trossen_pi0_bringup.soak": SOAK_ARGUMENTS,
    "trossen_pi0_bringup.bench": SIM_ARGUMENTS,
}
"""Module that is run as a command -> its ``name:=value`` arguments."""

COMMAND_ARGUMENTS: dict[str, tuple[Argument, ...]] = {
    "make sim": SIM_ARGUMENTS,
    "make teleop": TELEOP_ARGUMENTS,
    "make record-expert": RECORD_EXPERT_ARGUMENTS,
    "make replay": REPLAY_ARGUMENTS,
    "make evaluate": EVALUATION_ARGUMENTS,
    "make soak": SOAK_ARGUMENTS,
}
"""``make`` target -> its arguments."""
