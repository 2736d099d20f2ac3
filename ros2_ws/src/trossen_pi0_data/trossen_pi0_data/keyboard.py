"""``make record``: begins and ends episodes by single keys, and shows what the recorder does.

Usage: ``python -m trossen_pi0_data.keyboard [--prompt TEXT]``, in a terminal. A recorder must run:
by ``make sim ARGS="record:=true"``, ``ros2 launch ... record:=true``, or
``ros2 run trossen_pi0_data recorder_node``. Exit status: 0 ended by q or Ctrl-C, 2 no terminal.
"""

from __future__ import annotations

import argparse
import os
import select
import signal
import sys
import termios
import tty
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import rclpy
from rclpy.node import Node
from rclpy.signals import SignalHandlerOptions
from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from trossen_pi0_core.errors import EpisodeError
from trossen_pi0_core.signals import SignalFlag
from trossen_pi0_data.episode_client import EpisodeClient
from trossen_pi0_msgs.msg import RecorderStatus

KEYS = {
    "s": "start an episode",
    "e": "end it: success",
    "f": "end it: failure",
    "d": "discard it, or the last one",
    "n": "note to the next end, or to the last one",
    "q": "quit; an episode goes on",
}
"""Key -> what it does."""

EXIT_USAGE = 2

_REDRAW_S = 0.25
_STATES = {
    RecorderStatus.IDLE: ("idle", "green"),
    RecorderStatus.RECORDING: ("RECORDING", "bold red"),
    RecorderStatus.ERROR: ("error", "bold yellow"),
}


class Operator:
    """What the keys do. One thread."""

    def __init__(self, client: EpisodeClient, prompt: str) -> None:
        """Args:
        client: of the recorder.
        prompt: of the episodes; empty: the policy's.
        """
        self.said = ""
        self.done = False
        self._client = client
        self._prompt = prompt
        self._notes = ""

    @property
    def recording(self) -> bool:
        """Whether an episode is under way."""
        status = self._client.status
        return status is not None and status.state == RecorderStatus.RECORDING

    def press(self, key: str, ask: Callable[[str], str]) -> None:
        """Does what a key stands for.

        Args:
            key: one of ``KEYS``; others are told what there is.
            ask: asks for a line of text.
        """
        actions: dict[str, Callable[[], None]] = {
            "s": self._start,
            "e": lambda: self._end("success"),
            "f": lambda: self._end("failure"),
            "d": self._discard,
            "n": lambda: self._note(ask("note: ")),
            "q": self._quit,
        }
        action = actions.get(key.lower())
        if action is None:
            self.said = f"{key!r} is no key; the keys are {', '.join(KEYS)}"
            return
        try:
            action()
        except EpisodeError as error:
            self.said = str(error)

    def _start(self) -> None:
        answer = self._client.start(prompt=self._prompt)
        self._notes = "" if answer.success else self._notes
        self.said = answer.message

    def _end(self, outcome: str) -> None:
        if self.recording:
            answer = self._client.stop(outcome, notes=self._notes)
            self._notes = "" if answer.success else self._notes
        else:  # a run's episode ends by itself; what it was worth is said afterwards
            answer = self._client.mark(outcome)
        self.said = answer.message

    def _discard(self) -> None:
        call = self._client.stop if self.recording else self._client.mark
        self.said = call(discard=True).message

    def _note(self, text: str) -> None:
        if not text.strip():
            self.said = "no note"
        elif self.recording:
            self._notes = "\n".join(part for part in (self._notes, text.strip()) if part)
            self.said = f"noted: {text.strip()}"
        else:
            self.said = self._client.mark(notes=text.strip()).message

    def _quit(self) -> None:
        self.done = True


def view(status: RecorderStatus | None, said: str) -> Group:
    """What the terminal shows."""
    table = Table.grid(padding=(0, 2))
    for key, meaning in KEYS.items():
        table.add_row(Text(key, style="bold cyan"), meaning)
    lines: list[Text] = []
    if status is None:
        lines.append(Text("waiting for the recorder (/episodes/status)", style="yellow"))
    else:
        lines += _status_lines(status)
    return Group(table, Text(), *lines, Text(said))


def _status_lines(status: RecorderStatus) -> list[Text]:
    word, style = _STATES.get(status.state, (str(status.state), "yellow"))
    name = f" {status.episode}" if status.episode else ""
    lines = [
        Text.assemble((word, style), f"{name}  {status.reason}"),
        Text(
            f"{status.duration_s:6.1f} s  {status.messages} messages  "
            f"{status.bytes / 1e6:.0f} MB  disk free {status.disk_free / 1e9:.1f} GB  "
            f"episodes {status.episodes}"
        ),
    ]
    if status.prompt:
        lines.append(Text(f"prompt: {status.prompt}"))
    if status.dropped:
        lines.append(Text(f"{status.dropped} messages DROPPED", style="bold red"))
    if status.silent_topics and status.state == RecorderStatus.RECORDING:
        silent = ", ".join(status.silent_topics)
        lines.append(Text(f"nothing came from: {silent}", style="yellow"))
    return lines


@contextmanager
def single_keys(handle: int) -> Iterator[None]:
    """Hands out keys as they are pressed, without showing them; restores the terminal always."""
    before = termios.tcgetattr(handle)
    try:
        tty.setcbreak(handle)
        yield
    finally:
        termios.tcsetattr(handle, termios.TCSADRAIN, before)


def run(operator: Operator, client: EpisodeClient, stop: SignalFlag) -> None:
    """Shows the status and obeys keys until q or ``stop``."""
    handle = sys.stdin.fileno()
    console = Console(highlight=False)

    def ask(question: str) -> str:
        live.stop()
        termios.tcsetattr(handle, termios.TCSADRAIN, shown)
        try:
            return console.input(question)
        except EOFError:
            return ""
        finally:
            tty.setcbreak(handle)
            live.start()

    shown = termios.tcgetattr(handle)
    with (
        single_keys(handle),
        Live(view(None, ""), console=console, auto_refresh=False, transient=False) as live,
    ):
        while not operator.done and not stop.is_set():
            live.update(view(client.status, operator.said), refresh=True)
            ready, _, _ = select.select([handle], [], [], _REDRAW_S)
            if ready:
                pressed = os.read(handle, 1).decode(errors="replace")
                if not pressed:  # the terminal is gone
                    return
                operator.press(pressed, ask)


def main(words: Sequence[str] | None = None) -> int:
    """Runs until q or Ctrl-C; returns the exit status."""
    parser = argparse.ArgumentParser(
        description="begins and ends episodes by keys",
        epilog="; ".join(f"{key}: {meaning}" for key, meaning in KEYS.items()),
    )
    parser.add_argument("--prompt", default="", help="instruction; empty: that of the policy")
    given = parser.parse_args(words)
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        sys.stderr.write(
            "error: keys need a terminal, and standard input or output is none; without one, call "
            "the services /episodes/start, /episodes/stop and /episodes/mark\n"
        )
        return EXIT_USAGE
    stop = SignalFlag()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda *_: stop.set())
    rclpy.init(signal_handler_options=SignalHandlerOptions.NO)
    node = Node(f"record_keys_{os.getpid()}")
    client = EpisodeClient(node)
    try:
        run(Operator(client, given.prompt), client, stop)
    finally:
        client.close()
        node.destroy_node()
        rclpy.try_shutdown()
    status = client.status
    if status is not None and status.state == RecorderStatus.RECORDING:
        sys.stdout.write(f"episode {status.episode} goes on in {Path(status.path)}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
