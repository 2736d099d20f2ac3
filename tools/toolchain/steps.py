"""Steps with visible progress, logs, and stamps that make a second call do nothing."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

HEARTBEAT_S = 10.0
_TAIL_LINES = 20
_held: set[int] = set()


class StepFailedError(Exception):
    """A step could not be done; the message says why, `log` is where its output is."""

    def __init__(self, reason: str, log: Path | None = None) -> None:
        super().__init__(reason)
        self.log = log


@dataclass(frozen=True)
class Step:
    """One piece of work, done when `product` exists and `stamp` holds the digest of its inputs."""

    title: str
    product: Path
    stamp: Path
    inputs: Callable[[], Sequence[str]]
    work: Callable[[Path], None]
    """Takes the path of the step's log."""


class StepRunner:
    """Does the steps that are not done yet, in order, and tells how far it is."""

    def __init__(self, steps: Sequence[Step], logs: Path, stream: TextIO = sys.stdout) -> None:
        self._steps = steps
        self._logs = logs
        self._stream = stream

    def run(self) -> int:
        """Returns the number of steps done; raises StepFailedError with the step in its message."""
        done = 0
        for number, step in enumerate(self._steps, start=1):
            label = f"[{number}/{len(self._steps)}] {step.title}"
            wanted = digest(step.inputs())
            if step.product.exists() and _read(step.stamp) == wanted:
                continue
            step.stamp.unlink(missing_ok=True)
            log = self._logs / f"{number}-{step.title.split()[0].lower()}.log"
            log.parent.mkdir(parents=True, exist_ok=True)
            log.write_text("", encoding="utf-8")
            with self._timed(label):
                try:
                    step.work(log)
                except StepFailedError as error:
                    raise StepFailedError(f"{label} failed: {error}", error.log) from error
                except OSError as error:
                    raise StepFailedError(f"{label} failed: {error}", log) from error
            step.stamp.parent.mkdir(parents=True, exist_ok=True)
            step.stamp.write_text(wanted, encoding="utf-8")
            done += 1
        return done

    @contextlib.contextmanager
    def _timed(self, label: str) -> Iterator[None]:
        started = time.monotonic()
        finished = threading.Event()

        def beat() -> None:
            while not finished.wait(HEARTBEAT_S):
                self._say(f"{label}: {time.monotonic() - started:.0f} s so far")

        self._say(f"{label} ...")
        thread = threading.Thread(target=beat, name="setup-progress", daemon=True)
        thread.start()
        try:
            yield
        finally:
            finished.set()
            thread.join()
        self._say(f"{label}: done in {time.monotonic() - started:.1f} s")

    def _say(self, text: str) -> None:
        self._stream.write(text + "\n")
        self._stream.flush()


def run_logged(
    command: Sequence[str | Path], log: Path, env: Mapping[str, str], cwd: Path | None = None
) -> None:
    """Runs `command` with its output appended to `log`; raises StepFailedError if it fails.

    The command gets a process group of its own, which is ended when this process is interrupted.
    It inherits what this process holds locked, so that nobody starts over while it still runs even
    if this process is killed.
    """
    words = [str(word) for word in command]
    with log.open("a", encoding="utf-8") as out:
        out.write("$ " + " ".join(words) + "\n")
        out.flush()
        try:
            process = subprocess.Popen(
                words,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                env=dict(env),
                cwd=cwd,
                start_new_session=True,
                pass_fds=tuple(_held),
            )
        except OSError as error:
            raise StepFailedError(f"cannot run {words[0]}: {error}", log) from error
        try:
            status = process.wait()
        except BaseException:
            _end_group(process)
            raise
    if status != 0:
        name = " ".join(words[:3]) if "-m" in words[:2] else words[0]
        raise StepFailedError(f"{name} ended with status {status}", log)


def _end_group(process: subprocess.Popen[bytes]) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGTERM)
        try:
            process.wait(timeout=5.0)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


@contextlib.contextmanager
def exclusive(lock: Path, stream: TextIO = sys.stdout) -> Iterator[None]:
    """Holds `lock`, so that two setups of one checkout take turns."""
    lock.parent.mkdir(parents=True, exist_ok=True)
    with lock.open("a+", encoding="utf-8") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            handle.seek(0)
            owner = handle.read().strip() or "unknown"
            stream.write(f"setup: waiting for another setup of this checkout (pid {owner})\n")
            stream.flush()
            fcntl.flock(handle, fcntl.LOCK_EX)
        handle.seek(0)
        handle.truncate()
        handle.write(str(os.getpid()))
        handle.flush()
        _held.add(handle.fileno())
        try:
            yield
        finally:
            _held.discard(handle.fileno())


def tail(log: Path) -> str:
    """The last lines of a log, indented for a person."""
    lines = log.read_text(encoding="utf-8", errors="replace").splitlines()[-_TAIL_LINES:]
    return "\n".join(f"    | {line}" for line in lines)


def digest(parts: Sequence[str]) -> str:
    """A digest of the parts and of where each one ends."""
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()


def _read(path: Path) -> str | None:
    return path.read_text(encoding="utf-8") if path.is_file() else None
