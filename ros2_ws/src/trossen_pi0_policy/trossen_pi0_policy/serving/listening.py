"""Whether the server can listen where it is told to, and if not, why."""

from __future__ import annotations

import errno
import socket

from trossen_pi0_core.errors import TrossenPi0Error
from trossen_pi0_policy.serving.options import ServerOptions


class ServeError(TrossenPi0Error):
    """The server cannot listen or cannot go on."""


def check_listening(options: ServerOptions) -> None:
    """Finds out what is wrong with host and port before a policy is loaded for them.

    Raises:
        ServeError: nobody can listen there now.
    """
    try:
        found = socket.getaddrinfo(
            options.host, options.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )
        for family, kind, protocol, _, address in found:
            with socket.socket(family, kind, protocol) as probe:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                if family == socket.AF_INET6:
                    probe.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
                probe.bind(address)
                probe.listen()
    except (OSError, UnicodeError) as error:
        raise ServeError(bind_failure(options, error)) from error


def bind_failure(options: ServerOptions, error: OSError | UnicodeError) -> str:
    """What a failure to listen means for the user."""
    place = f"cannot listen on {options.host}, port {options.port}"
    if isinstance(error, UnicodeError):
        return f"{place}: that is neither a name nor an address"
    if error.errno == errno.EADDRINUSE:
        return f"{place}: the port is in use, by another server perhaps; choose another one"
    if error.errno == errno.EADDRNOTAVAIL:
        return f"{place}: this machine has no such address"
    if error.errno == errno.EACCES:
        return f"{place}: not permitted; ports below 1024 are reserved, choose a higher one"
    return f"{place}: {error.strerror or error}"
