"""What the doctor finds, and how it is shown."""

from __future__ import annotations

import dataclasses
import enum
import json
from collections.abc import Sequence


class Verdict(enum.Enum):
    """How something is."""

    OK = "OK"
    WARN = "WARN"
    """It works, but not as it should."""
    FAIL = "FAIL"
    """A run would not go well."""
    SKIP = "SKIP"
    """It could not be looked at, or was not asked for."""


@dataclasses.dataclass(frozen=True)
class Finding:
    """One line of the doctor.

    Attributes:
        verdict: how it is.
        what: was looked at, such as 'arm left'.
        found: what there is.
        advice: what to do about it; empty where nothing is to be done.
    """

    verdict: Verdict
    what: str
    found: str
    advice: str = ""

    @property
    def line(self) -> str:
        """``OK    what: found (advice)``."""
        advice = f" ({self.advice})" if self.advice else ""
        return f"{self.verdict.value:<5} {self.what}: {self.found}{advice}"


def ok(what: str, found: str, advice: str = "") -> Finding:
    """As it should be."""
    return Finding(Verdict.OK, what, found, advice)


def warn(what: str, found: str, advice: str = "") -> Finding:
    """Not as it should be, yet it works."""
    return Finding(Verdict.WARN, what, found, advice)


def fail(what: str, found: str, advice: str = "") -> Finding:
    """In the way of a run."""
    return Finding(Verdict.FAIL, what, found, advice)


def skip(what: str, found: str, advice: str = "") -> Finding:
    """Not looked at."""
    return Finding(Verdict.SKIP, what, found, advice)


def count(findings: Sequence[Finding], verdict: Verdict) -> int:
    """How many findings have a verdict."""
    return sum(finding.verdict == verdict for finding in findings)


def conclusion(findings: Sequence[Finding]) -> str:
    """The last line."""
    failed = count(findings, Verdict.FAIL)
    warnings, skipped = count(findings, Verdict.WARN), count(findings, Verdict.SKIP)
    more = f"{warnings} warnings, {skipped} not looked at"
    if failed:
        return f"NOT READY: {failed} of {len(findings)} checks failed; {more}"
    return f"READY: nothing failed; {more}"


def as_json(findings: Sequence[Finding]) -> str:
    """The findings for tools: ``ready`` and a list ``findings`` of maps."""
    listed = [
        {**dataclasses.asdict(finding), "verdict": finding.verdict.value} for finding in findings
    ]
    return json.dumps({"ready": not count(findings, Verdict.FAIL), "findings": listed}, indent=2)
