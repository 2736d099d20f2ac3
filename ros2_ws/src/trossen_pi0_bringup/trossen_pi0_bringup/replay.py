"""``make replay EPISODE=...``: plays an episode to a policy, or has its actions executed again.

Usage: ``python -m trossen_pi0_bringup.replay episode:=FOLDER [name:=value ...]``; ``--help`` lists
the arguments. By default the recorded pictures and joint states go to the policy node, on the
episode's own clock and without arms, and its chunks are compared with the recorded commands. With
``mode:=actions`` the simulated arms execute the recorded commands, from the recorded seed.
Exit status: 0 it went well, 1 it did not, 2 bad arguments or an episode that cannot be replayed,
3 the stack failed, 130 ended by Ctrl-C.
"""

from __future__ import annotations

import dataclasses
import math
import sys
import time
from typing import Any

from trossen_pi0_bringup.arguments import REPLAY, Arguments, own_argument
from trossen_pi0_bringup.nodes import NodeSpec
from trossen_pi0_bringup.operator_node import OUTCOMES
from trossen_pi0_bringup.replay_nodes import (
    REPLAY_LAUNCH_ARGUMENTS,
    replay_plan,
    replay_specs,
)
from trossen_pi0_bringup.replay_operator import ReplayOperator
from trossen_pi0_bringup.report import write_json
from trossen_pi0_bringup.stack_command import EXIT_OK, EXIT_TASK, StackCommand
from trossen_pi0_bringup.supervisor import StackError
from trossen_pi0_core.contract import NANOSECONDS
from trossen_pi0_core.errors import EpisodeError, ParameterError
from trossen_pi0_core.parameters import ArmControllerParameters, ReplayParameters
from trossen_pi0_data.commands import CommandTrack, read_command_track
from trossen_pi0_data.comparison import Deviation, compare_chunks, compare_motion
from trossen_pi0_data.episode_info import FAILURE
from trossen_pi0_data.replay_plan import ReplayPlan
from trossen_pi0_msgs.action import RunPolicy
from trossen_pi0_msgs.msg import ReplayStatus
from trossen_pi0_ros.convert import time_ns

_NOT_HERE = ("waits", "alone")

REPLAY_ARGUMENTS = (
    *(argument for argument in REPLAY_LAUNCH_ARGUMENTS if argument.name not in _NOT_HERE),
    own_argument("alone", False, "Not for this command."),
    own_argument(
        "ready_timeout_s",
        180.0,
        "Longest wait for the nodes and the policy's compilation [s].",
        low=1.0,
        high=3600.0,
    ),
    own_argument("run_dir", "", "Folder for the results; empty: runs/replay_<date and time>."),
)
"""Arguments of ``make replay``."""

_ENDED = (ReplayStatus.FINISHED, ReplayStatus.STOPPED, ReplayStatus.FAILED)
_LAST_CHUNK_S = 1.0  # for a chunk of the last observation
_SETTLE_S = 4.0  # for the object to come to rest
_SPARE_S = 60.0


def main(words: list[str] | None = None) -> int:
    """Replays the episode and returns the exit status."""
    words = sys.argv[1:] if words is None else words
    command = StackCommand.from_words(
        words, __doc__ or "", REPLAY_ARGUMENTS, "replay_%Y%m%d_%H%M%S", _checked_specs
    )
    if isinstance(command, int):
        return command
    plan = replay_plan(command.arguments)
    command.say(f"{plan.name}: {plan.duration_s:.1f} s, {plan.reader.folder}")
    for problem in plan.reader.problems:
        command.say(f"note: {problem}", "yellow")
    status = command.run(lambda: _replay(command, plan))
    command.say(f"results: {command.folder}")
    return status


def _checked_specs(arguments: Arguments) -> list[NodeSpec]:
    """The processes; the replay node waits to be told.

    Raises:
        ParameterError: what this command cannot do.
        EpisodeError: the episode cannot be replayed.
    """
    if arguments["loop"]:
        raise ParameterError("loop: this command plays once; `ros2 launch` also plays for ever")
    if arguments["alone"]:
        raise ParameterError("alone: this command starts everything; `ros2 launch` can do less")
    if not arguments["sim"]:
        raise ParameterError(
            "sim: this command moves simulated arms; real ones are moved by `ros2 launch "
            "trossen_pi0_bringup replay.launch.py mode:=actions sim:=false episode:=FOLDER`"
        )
    plan = replay_plan(arguments)
    if plan.track is not None:
        plan.track.check(ArmControllerParameters().limits, arguments["rate"])
    return [
        dataclasses.replace(spec, parameters={**spec.parameters, "waits": True})
        if spec.name == REPLAY
        else spec
        for spec in replay_specs(arguments)
    ]


def _replay(run: StackCommand, plan: ReplayPlan) -> int:
    operator = ReplayOperator()
    actions = plan.track is not None
    try:
        run.say("waiting for the nodes")
        operator.wait_for(
            lambda: not operator.missing(actions=actions),
            run.arguments["ready_timeout_s"],
            run.watch,
            lambda: operator.missing(actions=actions),
        )
        if actions:
            return _actions(run, plan, operator)
        return _observations(run, plan, operator)
    finally:
        operator.close()


# Observations -----------------------------------------------------------------------------------


def _observations(run: StackCommand, plan: ReplayPlan, operator: ReplayOperator) -> int:
    handle, result = operator.run_policy(plan.duration_s + _SPARE_S, run.watch)
    operator.start_replay(run.watch)
    status = _play(run, plan, operator, result.done)
    if not result.done():
        deadline = time.monotonic() + _LAST_CHUNK_S
        while time.monotonic() < deadline:
            run.watch()
            operator.pause(0.05)
    policy = operator.end_run(handle, result, run.watch)
    outcome = OUTCOMES.get(policy.outcome, str(policy.outcome))
    run.say(
        f"replay {status.position_s:.1f} of {status.duration_s:.1f} s, {status.messages} messages, "
        f"lag {status.lag_s:.2f} s; policy {outcome}: {policy.chunks} chunks, {policy.message}"
    )
    summary = {
        "episode": plan.name,
        "mode": "observations",
        "messages": status.messages,
        "lag_s": status.lag_s,
        "outcome": outcome,
        "message": policy.message,
        "chunks": policy.chunks,
        **_compare(run, plan, operator),
    }
    write_json(run.folder / "summary.json", summary)
    well = policy.chunks > 0 and policy.outcome != RunPolicy.Result.FAILED
    return EXIT_OK if well and status.state != ReplayStatus.FAILED else EXIT_TASK


def _compare(run: StackCommand, plan: ReplayPlan, operator: ReplayOperator) -> dict[str, Any]:
    """Prints how the chunks compare with the commands, as far as there are any."""
    try:
        track = _commands(plan)
    except EpisodeError as error:
        run.say(f"the chunks are compared with nothing: {error}", "yellow")
        return {}
    compared = compare_chunks(operator.chunks, track)
    run.say(f"{compared.chunks} chunks against the recorded commands: {compared.overall}")
    for begin, end, part in compared.ahead:
        reach = f"to {end:.1f} s" if math.isfinite(end) else "s and more"
        run.say(f"  {begin:.1f} {reach} ahead: {part}")
    return {
        "compared_chunks": compared.chunks,
        "error": _plain(compared.overall),
        "error_ahead": [{"from_s": begin, **_plain(part)} for begin, end, part in compared.ahead],
    }


def _commands(plan: ReplayPlan) -> CommandTrack:
    """All recorded commands: chunks reach beyond the part that is played."""
    return read_command_track(plan.reader, ReplayParameters().joint_map)


# Actions ----------------------------------------------------------------------------------------


def _actions(run: StackCommand, plan: ReplayPlan, operator: ReplayOperator) -> int:
    assert plan.track is not None
    info = plan.reader.info
    seed = run.arguments["seed"] if "seed" in run.arguments.given else info.seed
    if seed is None:
        run.say("the episode has no seed: the object lies elsewhere; seed:=N puts it", "yellow")
    else:
        operator.reset_sim(seed, run.arguments["variant"], run.watch)
    operator.start_replay(run.watch)
    status = _play(run, plan, operator, lambda: False)
    judged = seed is not None and info.outcome != FAILURE
    if judged and status.state == ReplayStatus.FINISHED:
        deadline = time.monotonic() + _SETTLE_S
        while time.monotonic() < deadline and not _success(operator):
            run.watch()
            operator.pause(0.1)
    stamps_ns, positions = operator.commands.arrays()
    deviation = compare_motion(
        plan.track,
        operator.commands.names,
        stamps_ns,
        positions,
        began_ns=time_ns(status.began),
        delay_ns=round(status.delay_s * NANOSECONDS),
        rate=run.arguments["rate"],
    )
    ended = "finished" if status.state == ReplayStatus.FINISHED else f"failed: {status.reason}"
    run.say(f"actions {ended}; delayed by {status.delay_s:.3f} s")
    run.say(f"{deviation.values} executed commands against the recorded ones: {deviation}")
    if judged:
        run.say(f"seed {seed}: task {'done' if _success(operator) else 'not done'}")
    summary = {
        "episode": plan.name,
        "mode": "actions",
        "state": ended,
        "seed": seed,
        "success": _success(operator) if judged else None,
        "delay_s": status.delay_s,
        "commands": deviation.values,
        "error": _plain(deviation),
    }
    write_json(run.folder / "summary.json", summary)
    well = status.state == ReplayStatus.FINISHED and (_success(operator) or not judged)
    return EXIT_OK if well else EXIT_TASK


def _success(operator: ReplayOperator) -> bool:
    return operator.sim is not None and operator.sim.success


# Both -------------------------------------------------------------------------------------------


def _play(run: StackCommand, plan: ReplayPlan, operator: ReplayOperator, over: Any) -> ReplayStatus:
    """Waits for the end of the replay, or of the policy's run; returns the last status.

    Raises:
        StackError: it does not end.
    """
    rate = run.arguments["rate"] or 1.0
    deadline = time.monotonic() + 3.0 * plan.duration_s / rate + _SPARE_S
    shown_s = 0.0
    while not over():
        run.watch()
        operator.pause(0.1)
        status = operator.status
        if status is not None and status.state in _ENDED:
            break
        now = time.monotonic()
        if status is not None and now - shown_s >= 3.0:
            shown_s = now
            run.say(
                f"{status.position_s:6.1f} of {status.duration_s:.1f} s {status.reason}".rstrip()
            )
        if now > deadline:
            raise StackError("the replay did not end")
    assert operator.status is not None
    return operator.status


def _plain(deviation: Deviation) -> dict[str, float | None]:
    return {
        name: round(value, 6) if math.isfinite(value) else None  # NaN is no JSON
        for name, value in dataclasses.asdict(deviation).items()
    }


if __name__ == "__main__":
    sys.exit(main())
