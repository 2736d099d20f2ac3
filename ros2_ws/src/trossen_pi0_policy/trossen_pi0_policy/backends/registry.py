"""Backends by name. A backend's module is imported only when it is chosen."""

from __future__ import annotations

import importlib

from trossen_pi0_core.errors import BackendError, ParameterError
from trossen_pi0_policy.backends.base import BackendContext, PolicyBackend

_CLASSES = {
    "openpi": "trossen_pi0_policy.backends.openpi:OpenpiBackend",
    "pi0": "trossen_pi0_policy.backends.pi0:Pi0Backend",
    "expert": "trossen_pi0_policy.backends.expert:ExpertBackend",
    "replay": "trossen_pi0_policy.backends.replay:ReplayBackend",
}


def backend_names() -> tuple[str, ...]:
    """Names that ``make_backend`` takes."""
    return tuple(_CLASSES)


def make_backend(name: str, context: BackendContext) -> PolicyBackend:
    """Makes a backend.

    Raises:
        ParameterError: unknown name, or parameters that the backend cannot work with.
        BackendError: what the backend needs is not there.
    """
    if name not in _CLASSES:
        raise ParameterError(f"backend: {name!r} is not one of {list(_CLASSES)}")
    module, _, attribute = _CLASSES[name].partition(":")
    try:
        backend = getattr(importlib.import_module(module), attribute)
    except ImportError as error:
        raise BackendError(f"backend {name!r} cannot be used here: {error}") from error
    return backend(context)
