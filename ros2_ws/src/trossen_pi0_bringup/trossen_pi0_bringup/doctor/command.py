"""``make doctor``: is everything there that a run needs?

Usage: ``python -m trossen_pi0_bringup.doctor [--json] [name:=value ...]``, with the arguments that
the launch file will get; ``arm:=left`` or ``arm:=right`` as for single.launch.py. Nothing is moved,
and an arm that somebody is connected to is left alone. ``--json`` prints one document for tools.
Exit status: 0 nothing failed, 1 something did, 2 bad arguments.
"""

from __future__ import annotations

import os
import sys
import threading
from concurrent.futures import Future

from trossen_pi0_bringup.arguments import (
    LAUNCH_ARGUMENTS,
    Arguments,
    own_argument,
    parse_command_line,
)
from trossen_pi0_bringup.doctor.checks import checks_of, run_checks
from trossen_pi0_bringup.doctor.findings import (
    Finding,
    Verdict,
    as_json,
    conclusion,
    count,
)
from trossen_pi0_bringup.doctor.listening import Heard, listen
from trossen_pi0_bringup.doctor.plan import Plan, plan_of
from trossen_pi0_bringup.kit import ARMS, BOTH
from trossen_pi0_bringup.stack_command import print_help
from trossen_pi0_bringup.transport import transport_environment
from trossen_pi0_core.errors import ParameterError
from trossen_pi0_ros.process import leave_foreign_code

DOCTOR_ARGUMENTS = (
    own_argument("arm", BOTH, "The arms that are looked at.", choices=(BOTH, *ARMS)),
    *LAUNCH_ARGUMENTS,
)
"""Arguments of the doctor: those of the launch files."""

EXIT_READY, EXIT_NOT_READY, EXIT_USAGE = 0, 1, 2


def main(words: list[str] | None = None) -> int:
    """Looks at everything; returns the exit status."""
    words = sys.argv[1:] if words is None else list(words)
    if {"-h", "--help"} & set(words):
        print_help(__doc__ or "", DOCTOR_ARGUMENTS)
        return EXIT_READY
    for_tools = "--json" in words
    try:
        given = parse_command_line([word for word in words if word != "--json"])
        plan = plan_of(Arguments(DOCTOR_ARGUMENTS, given))
    except ParameterError as error:
        sys.stderr.write(f"error: {error}\n")
        return EXIT_USAGE
    findings = examine(plan)
    if for_tools:
        sys.stdout.write(as_json(findings) + "\n")
    else:
        lines = [finding.line for finding in findings]
        sys.stdout.write("\n".join([*lines, conclusion(findings)]) + "\n")
    status = EXIT_NOT_READY if count(findings, Verdict.FAIL) else EXIT_READY
    leave_foreign_code(status)  # a check that hangs must not keep the process
    return status


def examine(plan: Plan) -> list[Finding]:
    """All that the checks find, in the order of their table."""
    os.environ.update(transport_environment())
    heard: Future[Heard] = Future()
    threading.Thread(target=_listen, args=(plan, heard), name="doctor-ros", daemon=True).start()
    results = run_checks(checks_of(plan, heard))
    return [finding for _, findings in results for finding in findings]


def _listen(plan: Plan, heard: Future[Heard]) -> None:
    try:
        heard.set_result(listen(plan.cameras, tuple(plan.addresses.values())))
    except Exception as error:  # noqa: BLE001 - every check that needs it tells it
        heard.set_exception(error)


if __name__ == "__main__":
    sys.exit(main())
