"""What the policy server can be told."""

from __future__ import annotations

from trossen_pi0_core.errors import ParameterError
from trossen_pi0_core.parameters.spec import parameter, parameters


@parameters
class ServerOptions:
    """Where the server listens and what it allows its clients."""

    host: str = parameter(
        "127.0.0.1", "Name or address to listen on; 0.0.0.0 is every IPv4 interface."
    )
    port: int = parameter(8000, "TCP port; 0 takes a free one.", low=0, high=65535)
    max_batch: int = parameter(
        1, "Most observations, each of another client, in one inference.", low=1, high=256
    )
    batch_wait_ms: float = parameter(
        2.0, "Longest wait for the other clients' observations [ms].", low=0.0, high=1000.0
    )
    max_connections: int = parameter(16, "Most clients at a time.", low=1, high=1024)
    max_message_mb: float = parameter(
        32.0, "Largest observation [MiB]; a larger one ends its connection.", low=0.001, high=1024.0
    )
    handshake_timeout_s: float = parameter(
        10.0, "Longest time a new connection may take to become a client [s].", low=0.1, high=600.0
    )
    idle_timeout_s: float = parameter(
        4 * 3600.0, "Longest time between two observations of a client [s].", low=0.1, high=1e6
    )
    ping_timeout_s: float = parameter(
        20.0,
        "Pause between pings and longest wait for the answer to one, which a dead client does "
        "not give [s].",
        low=0.1,
        high=600.0,
    )
    send_timeout_s: float = parameter(
        5.0, "Longest time a client may take to accept an answer [s].", low=0.05, high=600.0
    )
    shutdown_timeout_s: float = parameter(
        10.0, "Longest wait for the answers under way when the server ends [s].", low=0.0, high=600
    )

    def check(self) -> None:
        """Checks what a range does not say."""
        if not self.host.strip():
            raise ParameterError(
                "host: need a name or address, got ''; 127.0.0.1 serves this machine only, "
                "0.0.0.0 every IPv4 interface"
            )

    @property
    def max_message_bytes(self) -> int:
        """Largest observation [bytes]."""
        return int(self.max_message_mb * 2**20)
