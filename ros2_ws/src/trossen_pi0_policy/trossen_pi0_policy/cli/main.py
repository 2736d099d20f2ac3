"""The commands of ``trossen-pi0`` and what they return to the shell."""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
from collections.abc import Sequence

from trossen_pi0_core.errors import ParameterError, TrossenPi0Error
from trossen_pi0_policy.cli import benchmark, infer, merge, serve

EXIT_OK, EXIT_FAILURE, EXIT_USAGE, EXIT_INTERRUPTED = 0, 1, 2, 130

_COMMANDS = (serve, infer, benchmark, merge)


def main(words: Sequence[str] | None = None) -> int:
    """Runs one command; returns 0, 1 after a failure, 2 for wrong arguments, 130 after Ctrl-C."""
    parser = make_parser()
    try:
        arguments = parser.parse_args(words)
    except SystemExit as stop:  # argparse has said why
        return int(stop.code or EXIT_OK)
    try:
        arguments.run(arguments)
    except ParameterError as error:
        return _fail(str(error), EXIT_USAGE)
    except TrossenPi0Error as error:
        return _fail(str(error), EXIT_FAILURE)
    except BrokenPipeError:
        # Whoever read the output is gone; the interpreter would complain once more at its end.
        with contextlib.suppress(OSError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return EXIT_FAILURE
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        return _fail(f"{where}{error.strerror or error}", EXIT_FAILURE)
    except KeyboardInterrupt:
        return _fail("interrupted", EXIT_INTERRUPTED)
    return EXIT_OK


def make_parser() -> argparse.ArgumentParser:
    """The arguments of all commands; each sets ``run``."""
    parser = argparse.ArgumentParser(
        prog="trossen-pi0",
        description="Serve a pi0 policy, ask it once, time it, or merge its adapters.",
    )
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    for command in _COMMANDS:
        command.add_to(commands)
    return parser


def _fail(message: str, status: int) -> int:
    sys.stderr.write(f"trossen-pi0: error: {message}\n")
    return status
