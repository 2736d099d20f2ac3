"""How the process of a node begins. Imports nothing that takes time."""

from __future__ import annotations

import importlib
import signal
import sys
from typing import NoReturn


def run_module(name: str) -> NoReturn:
    """Imports a node's module and ends with the status of its ``main``.

    Until that takes over, Ctrl-C ends the process at once: a KeyboardInterrupt inside the
    initialisation of an extension module would abort it.

    Args:
        name: of the module.
    """
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    sys.exit(importlib.import_module(name).main())
