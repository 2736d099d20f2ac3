"""Finds lost messages by the numbers that publishers give them. ROS-free."""

from __future__ import annotations

from collections.abc import Callable


class SequenceWatch:
    """The numbers of one topic's messages, which count up by one for each publisher.

    A message does not say who published it. With several publishers a number goes on from the
    nearest one below it; so a loss is found, though not always with the right publisher.
    """

    def __init__(self) -> None:
        self._last: list[int] = []

    def take(self, sequence: int, publishers: Callable[[], int]) -> int:
        """Takes a message's number; returns how many were lost before it.

        Args:
            sequence: its number.
            publishers: how many publishers the topic has now; asked only when the number is not
                the next one.
        """
        for i, last in enumerate(self._last):
            if sequence == last + 1:
                self._last[i] = sequence
                return 0
        known = len(self._last)
        if not known or known < publishers():
            self._last.append(sequence)  # the first that is heard of a publisher
            return 0
        below = [i for i in range(known) if self._last[i] < sequence]
        if not below:
            # A publisher began anew. Which one is not known; the highest number is least likely to
            # be taken for another's.
            self._last[self._last.index(max(self._last))] = sequence
            return 0
        nearest = max(below, key=lambda i: self._last[i])
        lost = sequence - self._last[nearest] - 1
        self._last[nearest] = sequence
        return lost
