"""What is compared: modes of execution, stand-ins for the policy, and added delays."""

from __future__ import annotations

import math
from dataclasses import dataclass

from trossen_pi0_core.contract import Execution
from trossen_pi0_core.parameters import ArmControllerParameters, PolicyParameters

BASE_LATENCY_S = 0.05
"""An inference without added delay: the way of the pictures (33 ms) and π0 on a GPU (16 ms) [s]."""

JITTER_S = 0.01
"""Every inference takes up to so much longer, evenly distributed [s]."""

RATE_OF_INFERENCE = 25
"""Rows between two inferences, the suite's default."""

MAX_DURATION_S = 45.0
"""Time limit of an episode; the plan takes some 12 s [s]."""

DELAYS_MS = (0, 50, 100, 200, 300, 500)
"""Added inference delays [ms]."""

_BLEND_S = ArmControllerParameters().blend_s
_ENSEMBLE = 0.01  # ACT's coefficient


@dataclass(frozen=True)
class Mode:
    """A way to execute chunks.

    Attributes:
        name: for the table and the command line.
        execution: how inference and motion go together.
        blend_s: cross-fade between chunks [s].
        ensemble: ACT's coefficient; NaN: none.
    """

    name: str
    execution: Execution
    blend_s: float = _BLEND_S
    ensemble: float = math.nan

    def controller(self) -> ArmControllerParameters:
        """Parameters of the arm controller."""
        return ArmControllerParameters(
            blend_s=self.blend_s, temporal_ensemble_coefficient=self.ensemble
        )

    def policy(self) -> PolicyParameters:
        """Parameters of the policy node."""
        return PolicyParameters(
            execution=self.execution.name.lower(),
            rate_of_inference=RATE_OF_INFERENCE,
            max_duration_s=MAX_DURATION_S,
        )


MODES = {
    mode.name: mode
    for mode in (
        Mode("blocking", Execution.BLOCKING, blend_s=0.0),
        Mode("blocking+ensemble", Execution.BLOCKING, blend_s=0.0, ensemble=_ENSEMBLE),
        Mode("async-no-blend", Execution.ASYNC, blend_s=0.0),
        Mode("async", Execution.ASYNC),
        Mode("async+ensemble", Execution.ASYNC, ensemble=_ENSEMBLE),
        Mode("rtc", Execution.RTC),
    )
}
"""The modes by name. The reference client is ``blocking``."""


@dataclass(frozen=True)
class Cell:
    """One cell of the table.

    Attributes:
        policy: name in ``KINDS``.
        mode: name in ``MODES``.
        delay_ms: added to each inference [ms].
    """

    policy: str
    mode: str
    delay_ms: int
