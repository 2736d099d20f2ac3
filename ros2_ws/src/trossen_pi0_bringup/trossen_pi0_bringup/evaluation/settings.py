"""What is compared: scenarios, and the knobs that the operator has."""

from __future__ import annotations

import argparse
import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product

from trossen_pi0_core.errors import ParameterError
from trossen_pi0_core.parameters import ArmControllerParameters, PolicyParameters
from trossen_pi0_core.parameters.policy import EXECUTIONS
from trossen_pi0_core.parameters.sim import PROMPTS, VARIANTS

OFF = "off"
"""How no ensembling is written."""

MOST_DELAY_MS = 5000
"""Longest delay that can be added [ms]."""


@dataclass(frozen=True)
class Setting:
    """One row of the table.

    Attributes:
        variant: scenario.
        execution: ``async``, ``blocking`` or ``rtc``.
        rate_of_inference: control steps between two inferences.
        ensemble: ACT's coefficient; None: no ensembling.
        delay_ms: added to each inference [ms].
    """

    variant: str = "red_cube"
    execution: str = "async"
    rate_of_inference: int = PolicyParameters().rate_of_inference
    ensemble: float | None = None
    delay_ms: int = 0

    def __post_init__(self) -> None:
        for name, value, known in (
            ("variant", self.variant, VARIANTS),
            ("execution", self.execution, EXECUTIONS),
        ):
            if value not in known:
                raise ParameterError(f"{name}: {value!r} is not one of {list(known)}")
        if not 0 <= self.delay_ms <= MOST_DELAY_MS:
            raise ParameterError(f"delay_ms must lie in 0..{MOST_DELAY_MS}, got {self.delay_ms}")

    @property
    def prompt(self) -> str:
        """What an operator would say."""
        return PROMPTS[self.variant]

    @property
    def ensemble_text(self) -> str:
        """Of the coefficient."""
        return OFF if self.ensemble is None else f"{self.ensemble:g}"

    @property
    def name(self) -> str:
        """For a message."""
        return (
            f"{self.variant}, {self.execution}, every {self.rate_of_inference} rows, "
            f"ensembling {self.ensemble_text}, {self.delay_ms} ms added"
        )

    def controller(self) -> ArmControllerParameters:
        """Parameters of the arm controller."""
        coefficient = math.nan if self.ensemble is None else self.ensemble
        return ArmControllerParameters(temporal_ensemble_coefficient=coefficient)

    def policy(self, max_duration_s: float) -> PolicyParameters:
        """Parameters of the policy node, with the time limit of an episode [s]."""
        return PolicyParameters(
            execution=self.execution,
            rate_of_inference=self.rate_of_inference,
            max_duration_s=max_duration_s,
            prompt=self.prompt,
        )


@dataclass(frozen=True)
class Choices:
    """What is tried of each.

    Attributes:
        variants: scenarios.
        executions: how inference and motion go together.
        rates: control steps between two inferences.
        ensembles: ACT's coefficients; None: no ensembling.
        delays_ms: added to each inference [ms].
    """

    variants: Sequence[str]
    executions: Sequence[str]
    rates: Sequence[int]
    ensembles: Sequence[float | None]
    delays_ms: Sequence[int]

    def combined(self) -> tuple[Setting, ...]:
        """Every combination, each once.

        Raises:
            ParameterError: an unknown scenario or execution, or a delay out of range.
        """
        every = product(self.variants, self.executions, self.rates, self.ensembles, self.delays_ms)
        return tuple(dict.fromkeys(Setting(*values) for values in every))

    def one_by_one(self) -> tuple[Setting, ...]:
        """The first of each, around it each other value alone, and delays with each execution.

        Raises:
            ParameterError: as ``combined``.
        """
        base = Setting(
            self.variants[0],
            self.executions[0],
            self.rates[0],
            self.ensembles[0],
            self.delays_ms[0],
        )
        around = [base]
        around += [dataclasses.replace(base, variant=each) for each in self.variants]
        around += [dataclasses.replace(base, rate_of_inference=each) for each in self.rates]
        around += [dataclasses.replace(base, ensemble=each) for each in self.ensembles]
        around += [
            dataclasses.replace(base, execution=execution, delay_ms=delay)
            for execution, delay in product(self.executions, self.delays_ms)
        ]
        return tuple(dict.fromkeys(around))


def coefficient(text: str) -> float | None:
    """A type for argparse: ACT's coefficient, or ``off``."""
    if text == OFF:
        return None
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise argparse.ArgumentTypeError(f"need a number or {OFF!r}, got {text!r}")
    return value
