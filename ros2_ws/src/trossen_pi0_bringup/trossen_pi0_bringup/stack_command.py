"""What the commands that run the whole simulated kit share: arguments, start, interruption, end."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from rich.console import Console

from trossen_pi0_bringup.arguments import Argument, Arguments, parse_command_line
from trossen_pi0_bringup.nodes import NodeSpec, node_specs
from trossen_pi0_bringup.supervisor import StackError, Supervisor
from trossen_pi0_core.errors import EpisodeError, ParameterError
from trossen_pi0_core.signals import SignalFlag

EXIT_OK, EXIT_TASK, EXIT_USAGE, EXIT_STACK, EXIT_INTERRUPTED = 0, 1, 2, 3, 130

_NOT_HERE = {
    "teleop": "no policy runs then: use `make teleop`",
    "rviz": "RViz is not installed by this tool: use `ros2 launch` on a machine with ROS 2",
}


class Interrupted(Exception):  # noqa: N818 - a request, no error
    """Ctrl-C or SIGTERM."""


@dataclass
class StackCommand:
    """One call of a command that runs the stack.

    Attributes:
        arguments: as given.
        specs: the processes.
        folder: of the results; exists.
        console: where everything is told.
        supervisor: of the processes.
        interrupted: Ctrl-C or SIGTERM has come.
        failure: why the stack has failed; empty while it has not.
        killed: processes that did not end by themselves.
    """

    arguments: Arguments
    specs: list[NodeSpec]
    folder: Path
    console: Console
    supervisor: Supervisor
    interrupted: SignalFlag = field(default_factory=SignalFlag)
    failure: str = ""
    killed: list[str] = field(default_factory=list)

    @classmethod
    def from_words(
        cls,
        words: list[str],
        text: str,
        table: tuple[Argument, ...],
        folder_name: str,
        make_specs: Callable[[Arguments], list[NodeSpec]] | None = None,
    ) -> StackCommand | int:
        """Reads the command line; returns the exit status when there is nothing to run.

        Args:
            words: the command line.
            text: what the command is for.
            table: its arguments, among them those of ``make sim`` that tell of the kit.
            folder_name: of the results in ``runs``, a format of ``time.strftime``.
            make_specs: the processes that the arguments ask for; None: the simulated kit.
        """
        console = Console(highlight=False, soft_wrap=True)
        if {"-h", "--help"} & set(words):
            print_help(text, table)
            return EXIT_OK
        try:
            arguments = Arguments(table, parse_command_line(words))
            specs = (make_specs or checked_specs)(arguments)
        except (ParameterError, EpisodeError) as error:
            console.print(f"error: {error}", style="red", markup=False)
            return EXIT_USAGE
        folder = Path(arguments["run_dir"] or Path("runs") / time.strftime(folder_name)).resolve()
        folder.mkdir(parents=True, exist_ok=True)
        supervisor = Supervisor(
            folder, lambda line: console.print(line, style="yellow", markup=False)
        )
        return cls(arguments, specs, folder, console, supervisor)

    def say(self, line: str, style: str | None = None) -> None:
        """Prints a line."""
        self.console.print(line, style=style, markup=False)

    def watch(self) -> None:
        """Raises when the waiting shall end.

        Raises:
            Interrupted: by Ctrl-C or SIGTERM.
            StackError: a process has ended.
        """
        if self.interrupted.is_set():
            raise Interrupted
        self.supervisor.check()

    def run(self, work: Callable[[], int]) -> int:
        """Starts the stack, does the work, stops the stack; returns the exit status."""
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, lambda *_: self.interrupted.set())
        try:
            self.supervisor.start(self.specs)
            return work()
        except Interrupted:
            self.say("interrupted", "yellow")
            return EXIT_INTERRUPTED
        except StackError as error:
            self.failure = str(error)
            self.say(f"error: {error}", "red")
            return EXIT_STACK
        finally:
            self.killed = self.supervisor.stop()
            if self.killed:
                self.say(f"had to be killed: {', '.join(self.killed)}", "red")


def checked_specs(arguments: Arguments) -> list[NodeSpec]:
    """The processes of the simulated kit.

    Raises:
        ParameterError: arguments that do not go together, or that only `ros2 launch` can obey.
    """
    if not arguments["sim"]:
        raise ParameterError(
            "sim: this command runs the simulated kit; real arms and cameras are started with "
            "`ros2 launch trossen_pi0_bringup bimanual.launch.py sim:=false ...`"
        )
    for name, reason in _NOT_HERE.items():
        if arguments[name]:
            raise ParameterError(f"{name}: {reason}")
    return node_specs(arguments)


def print_help(text: str, table: tuple[Argument, ...]) -> None:
    """Says what a command is for and lists its arguments.

    Args:
        text: what the command is for.
        table: its arguments.
    """
    console = Console(highlight=False, soft_wrap=True)
    console.print(text.strip() + "\n", markup=False)
    for argument in table:
        spec = argument.spec
        allowed = f" One of {', '.join(spec.choices)}." if spec.choices else ""
        line = f"  {spec.name}:={argument.default_text}\n      {spec.description}{allowed}"
        console.print(line, markup=False)
