"""One arm instead of two: the arguments of ``single.launch.py``."""

from __future__ import annotations

from trossen_pi0_bringup.arguments import LAUNCH_ARGUMENTS, own_argument
from trossen_pi0_bringup.kit import ARMS

SINGLE_LAUNCH_FILE = "single.launch.py"

SINGLE_LAUNCH_ARGUMENTS = (
    own_argument("arm", "right", "The arm that is used.", choices=ARMS),
    *LAUNCH_ARGUMENTS,
)
"""Arguments of ``single.launch.py``: the arm, and those of ``bimanual.launch.py``."""
