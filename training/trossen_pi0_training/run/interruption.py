"""Ctrl-C and SIGTERM as a wish that is looked at between two steps."""

from __future__ import annotations

import signal
from types import FrameType
from typing import Any

from typing_extensions import Self


class Interruption:
    """While it is entered, the first signal is noted; a second one acts as usual.

    Attributes:
        number: of the signal; 0 while there was none.
    """

    def __init__(self) -> None:
        self.number = 0
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Self:
        for number in (signal.SIGINT, signal.SIGTERM):
            self._before[number] = signal.signal(number, self._note)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _note(self, number: int, frame: FrameType | None) -> None:
        del frame
        self.number = number
        signal.signal(number, self._before[number])
