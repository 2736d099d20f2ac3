"""``make bench-knobs``: what each live parameter changes, on the running simulated kit.

A policy behind a websocket leads the arms round and round, at a known delay. Each row of the table
in docs/tuning.md sets parameters by the parameter service during the run, waits until chunks of the
new settings have come, and measures for ``row_s``. Usage: ``python -m
trossen_pi0_bringup.knob_bench [name:=value ...]``; ``--help`` lists the arguments.
Exit status: 0 measured, 2 bad arguments, 3 the stack failed, 130 ended by Ctrl-C.
"""

from __future__ import annotations

import dataclasses
import math
import sys
import time
from pathlib import Path

from trossen_pi0_bringup.arguments import ARM_CONTROLLER, Arguments, own_argument
from trossen_pi0_bringup.execution_bench.report import write_table
from trossen_pi0_bringup.knob_bench.figures import RowFigures, row_figures, table
from trossen_pi0_bringup.knob_bench.laps import Answering, LapPolicy
from trossen_pi0_bringup.knob_bench.operator import KnobOperator
from trossen_pi0_bringup.knob_bench.rows import BASE, ROWS, USUAL, Row, Value
from trossen_pi0_bringup.nodes import NodeSpec, camera_topics
from trossen_pi0_bringup.operator_node import Watch
from trossen_pi0_bringup.report import write_json
from trossen_pi0_bringup.sim import SIM_ARGUMENTS
from trossen_pi0_bringup.stack_command import EXIT_OK, EXIT_USAGE, StackCommand, checked_specs
from trossen_pi0_core.errors import ParameterError
from trossen_pi0_policy.serving.options import ServerOptions
from trossen_pi0_policy.serving.server import PolicyServer

BEGIN, END = "<!-- bench-knobs: begin -->", "<!-- bench-knobs: end -->"

KNOB_ARGUMENTS = (
    *SIM_ARGUMENTS,
    own_argument("row_s", 15.0, "How long each row is measured [s].", low=0.5, high=600.0),
    own_argument("rows", len(ROWS), "Only so many rows, from the first.", low=1, high=len(ROWS)),
    own_argument("document", "", "Markdown file that gets the table between its marks."),
)
"""Arguments of ``make bench-knobs``: those of ``make sim``, and its own."""

_COMMAND_RATE_HZ = 100.0  # every command of the control loop is published, for its jerk
_SETTLE_CHUNKS = 3
_SETTLE_S = 20.0
_OFTEN: dict[str, Value] = {"rate_of_inference": 12}
_KNOWN_DELAYS, _KNOWN_DELAYS_S = 50, 120.0  # as many as the policy node remembers


def main(words: list[str] | None = None) -> int:
    """Measures and prints the table; returns the exit status."""
    words = sys.argv[1:] if words is None else words
    policy = LapPolicy(seed=0)
    with PolicyServer(policy, ServerOptions(port=0)) as server:
        command = StackCommand.from_words(
            [*words, "backend:=openpi", "policy_host:=127.0.0.1", f"policy_port:={server.port}"],
            __doc__ or "",
            KNOB_ARGUMENTS,
            "knobs_%Y%m%d_%H%M%S",
            knob_specs,
        )
        if isinstance(command, int):
            return command
        return command.run(lambda: _measure(command, policy))


def knob_specs(arguments: Arguments) -> list[NodeSpec]:
    """The simulated kit; every command is published.

    Raises:
        ParameterError: arguments that do not go together.
    """
    if arguments["teleop"]:
        raise ParameterError("teleop: not for this command, a policy leads the arms")
    return [
        dataclasses.replace(spec, parameters={**spec.parameters, "command_rate": _COMMAND_RATE_HZ})
        if spec.name == ARM_CONTROLLER
        else spec
        for spec in checked_specs(arguments)
    ]


def _measure(command: StackCommand, policy: LapPolicy) -> int:
    arguments = command.arguments
    operator = KnobOperator(camera_topics(arguments))
    results: list[tuple[Row, RowFigures]] = []
    try:
        command.say("waiting for the nodes")
        operator.wait_until_ready(arguments["ready_timeout_s"], command.watch)
        for row in ROWS[: arguments["rows"]]:
            results.append((row, _row(command, operator, policy, row)))
            command.say(table(results[-1:]).splitlines()[-1])
    finally:
        operator.close()
    text = table(results)
    command.say(text)
    _write(command, results)
    if arguments["document"]:
        try:
            write_table(Path(arguments["document"]), text, BEGIN, END)
        except ParameterError as error:
            command.say(f"error: {error}", "red")
            return EXIT_USAGE
    return EXIT_OK


def _row(command: StackCommand, operator: KnobOperator, policy: LapPolicy, row: Row) -> RowFigures:
    """Sets the row's values during a run and measures."""
    watch = command.watch
    _settle(operator, policy, USUAL if row.starves else row.answering, watch)
    operator.forget()
    began_s = time.monotonic()
    before = operator.now()
    policy.answering = row.answering
    operator.set_parameters(row.changes, watch)
    if not row.starves:
        operator.wait_for_chunks(_SETTLE_CHUNKS, _SETTLE_S, watch)
        before = operator.now()
    after, ages_s = operator.measure(command.arguments["row_s"], watch)
    ended = f"{operator.ended} ({time.monotonic() - began_s:.1f} s)" if operator.ended else ""
    return row_figures(before, after, operator.recording.copy(), ages_s, ended)


def _settle(operator: KnobOperator, policy: LapPolicy, answering: Answering, watch: Watch) -> None:
    """Runs by the shipped values; after a change of latency until older delays are forgotten."""
    operator.set_parameters(BASE, watch)
    new = policy.answering != answering
    policy.answering = answering
    operator.ensure_run(watch)
    if new:
        operator.set_parameters(_OFTEN, watch)
        operator.wait_for_chunks(_KNOWN_DELAYS, _KNOWN_DELAYS_S, watch)
        operator.set_parameters(BASE, watch)
    operator.wait_for_chunks(_SETTLE_CHUNKS, _SETTLE_S, watch)


def _write(command: StackCommand, results: list[tuple[Row, RowFigures]]) -> None:
    path = command.folder / "knobs.json"
    content = [
        {"parameters": row.title, "inference_ms": row.latency_text, **_plain(figures)}
        for row, figures in results
    ]
    write_json(path, {"rows": content})
    command.say(f"figures: {path}")


def _plain(figures: RowFigures) -> dict[str, object]:
    """For JSON, which has no NaN."""
    return {
        name: None if isinstance(value, float) and math.isnan(value) else value
        for name, value in dataclasses.asdict(figures).items()
    }
