"""What is tried: settings of the live parameters, at known delays."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TypeAlias

from trossen_pi0_bringup.arguments import ARM_CONTROLLER, POLICY
from trossen_pi0_bringup.knob_bench.laps import Answering

Value: TypeAlias = bool | int | float | str

BASE: dict[str, Value] = {
    "rate_of_inference": 25,
    "execution": "async",
    "delay_quantile": 0.9,
    "control_rate": 30.0,
    "sync_tolerance_s": 0.05,
    "max_observation_age_s": 0.3,
    "stall_timeout_s": 10.0,
    "blend_s": 0.1,
    "temporal_ensemble_coefficient": math.nan,
    "max_chunk_age_s": 2.5,
}
"""What every row begins from: the shipped values."""

_OF_ARMS = ("blend_s", "temporal_ensemble_coefficient", "max_chunk_age_s")


def node_of(name: str) -> str:
    """The node whose parameter it is."""
    return ARM_CONTROLLER if name in _OF_ARMS else POLICY


USUAL = Answering(0.1)
_LATE = Answering(0.3)
_UNEVEN = Answering(0.1, slow_s=0.3, slow_every=5)
_SILENT = Answering(3.0)


@dataclass(frozen=True)
class Row:
    """One row of the table.

    Attributes:
        changes: of ``BASE``; they name the row.
        answering: of the policy.
        starves: chunks do not come with it as they should; what it does at once is measured too.
    """

    changes: dict[str, Value] = field(default_factory=dict)
    answering: Answering = USUAL
    starves: bool = False

    @property
    def title(self) -> str:
        """Its parameters as they are typed."""
        return ", ".join(f"`{k} {v}`" for k, v in self.changes.items()) or "shipped values"

    @property
    def latency_text(self) -> str:
        """Latency of the policy, for the table [ms]."""
        usual = f"{self.answering.usual_s * 1e3:.0f}"
        if not self.answering.slow_every:
            return usual
        return f"{usual}, every {self.answering.slow_every}th {self.answering.slow_s * 1e3:.0f}"


ROWS = (
    Row(),
    Row({"rate_of_inference": 45}),
    Row({"control_rate": 15.0}),
    Row({"control_rate": 60.0}),
    Row({"rate_of_inference": 5}),
    Row({"rate_of_inference": 5, "temporal_ensemble_coefficient": 0.01}),
    Row({"rate_of_inference": 5, "temporal_ensemble_coefficient": 0.5}),
    Row({}, _LATE),
    Row({"rate_of_inference": 45}, _LATE),
    Row({"execution": "blocking"}, _LATE),
    Row({"execution": "rtc"}, _LATE),
    Row({"blend_s": 0.0}, _LATE),
    Row({"blend_s": 0.4}, _LATE),
    Row({"max_chunk_age_s": 0.8}, _LATE),
    Row({"execution": "rtc", "delay_quantile": 0.5}, _UNEVEN),
    Row({"execution": "rtc", "delay_quantile": 1.0}, _UNEVEN),
    Row({"sync_tolerance_s": 0.001}, starves=True),
    Row({"sync_tolerance_s": 0.02, "max_observation_age_s": 0.03}, starves=True),
    Row({}, _SILENT, starves=True),
    Row({"stall_timeout_s": 2.0}, _SILENT, starves=True),
)
"""The table."""
