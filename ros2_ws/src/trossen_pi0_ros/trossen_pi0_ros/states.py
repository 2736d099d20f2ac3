"""Names of the states in status messages."""

from __future__ import annotations


def state_names(message: type) -> dict[int, str]:
    """Names of a status message's states by their numbers."""
    constants = {name: getattr(message, name) for name in dir(message) if name.isupper()}
    return {value: name for name, value in constants.items() if isinstance(value, int)}
