"""What a policy must be for the server."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol


class ServedPolicy(Protocol):
    """A policy that answers observations in openpi's ALOHA layout, several at a time if it can."""

    @property
    def metadata(self) -> Mapping[str, Any]:
        """What each client is told when it connects; plain values and arrays. Any thread."""
        ...

    @property
    def max_batch(self) -> int:
        """Most observations that one ``infer`` takes, from 1. Any thread."""
        ...

    def prepare(self, request: Mapping[str, Any]) -> Any:
        """Checks an observation and turns it into the policy's own input. Any thread, cheap.

        Args:
            request: ``state`` [rad; m for carriages], ``images`` by camera, ``prompt``. Its arrays
                are read-only and nothing in it is trusted.

        Raises:
            TrossenPi0Error: the observation is bad, e.g. ObservationError; the client is told the
                message.
        """
        ...

    def infer(self, prepared: Sequence[Any]) -> list[dict[str, Any]]:
        """Answers observations that ``prepare`` made, all in one call. One thread only.

        Args:
            prepared: 1 to ``max_batch`` of them, of different clients.

        Returns:
            One answer for each, in the same order: ``actions``, float32, shape (horizon, joints)
            [rad; m for carriages], and ``policy_timing`` with ``infer_ms`` [ms].
        """
        ...
