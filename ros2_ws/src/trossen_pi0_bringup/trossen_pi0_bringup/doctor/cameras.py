"""The cameras: whether the right pictures come, of the right camera, at the right time."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from trossen_pi0_bringup.doctor.findings import Finding, Verdict, fail, ok, skip, warn
from trossen_pi0_bringup.doctor.plan import CameraPlan
from trossen_pi0_core.images import COLOUR_ENCODINGS

_GOOD_RATE, _POOR_RATE = 0.9, 0.5
_AHEAD_S = 0.02


@dataclass
class Pictures:
    """What has come on one camera's topic.

    Attributes:
        publishers: how many there are.
        arrivals: when pictures came, on the monotonic clock [s].
        ages: of their stamps when they came [s].
        shapes: width, height and encoding that there were.
        serials: the camera's serial number by what told it.
    """

    publishers: int = 0
    arrivals: list[float] = field(default_factory=list)
    ages: list[float] = field(default_factory=list)
    shapes: set[tuple[int, int, str]] = field(default_factory=set)
    serials: dict[str, str] = field(default_factory=dict)

    @property
    def rate_hz(self) -> float:
        """Pictures a second [Hz]; NaN with fewer than two."""
        if len(self.arrivals) < 2:
            return math.nan
        return (len(self.arrivals) - 1) / (self.arrivals[-1] - self.arrivals[0])


def check_camera(
    camera: CameraPlan, seen: Pictures, *, sim: bool, running: bool, oldest_s: float
) -> list[Finding]:
    """All about one camera.

    Args:
        camera: what it should be.
        seen: what has come.
        sim: whether it is simulated.
        running: whether the nodes of the suite run, so that pictures should come.
        oldest_s: age from which on the policy refuses a picture [s].
    """
    what = f"camera {camera.name}"
    findings = _serial(camera, seen) if not sim else []
    if not seen.arrivals:
        return [*findings, _silence(camera, seen, running=running)]
    problems: list[Finding] = []
    shapes = sorted(seen.shapes)
    told = ", ".join(f"{width}x{height} {encoding}" for width, height, encoding in shapes)
    if [shape[:2] for shape in shapes] != [(camera.width, camera.height)]:
        wanted = f"{camera.width}x{camera.height}"
        problems.append(warn(what, f"{told} on {camera.topic}, asked for {wanted}", _PROFILE))
    if any(shape[2] not in COLOUR_ENCODINGS for shape in shapes):
        problems.append(fail(what, f"{told}: the policy takes {', '.join(COLOUR_ENCODINGS)}"))
    problems += _rate(camera, seen.rate_hz) + _ages(what, seen.ages, oldest_s)
    if problems:
        return [*findings, *problems]
    age = sum(seen.ages) / len(seen.ages)
    return [*findings, ok(what, f"{told}, {seen.rate_hz:.1f} Hz, {1e3 * age:.0f} ms old")]


_PROFILE = "a profile that the camera does not have is replaced by another: see camera_profile"


def _serial(camera: CameraPlan, seen: Pictures) -> list[Finding]:
    what = f"camera {camera.name} serial"
    if not camera.serial:
        return [
            fail(
                what,
                "none was given",
                f"name it with {camera.name}_serial:=..., `rs-enumerate-devices -s` lists them",
            )
        ]
    if not seen.serials:
        return [skip(what, f"{camera.serial} is wanted, the camera's node does not tell")]
    wrong = {how: told for how, told in seen.serials.items() if told != camera.serial}
    if wrong:
        how, told = next(iter(wrong.items()))
        return [
            fail(
                what,
                f"{told} by its {how}, {camera.serial} is wanted",
                "are two cameras exchanged? cover each lens in turn and look at its picture",
            )
        ]
    return [ok(what, f"{camera.serial} by its {', '.join(seen.serials)}")]


def _silence(camera: CameraPlan, seen: Pictures, *, running: bool) -> Finding:
    what = f"camera {camera.name}"
    if seen.publishers:
        return fail(
            what,
            f"a publisher, but no picture on {camera.topic}",
            "does the camera's node log errors? Plug the camera in again, into a USB 3 port",
        )
    found = f"nobody publishes {camera.topic}"
    if running:
        return fail(what, found, f"is its node running? Name the topic with {camera.name}_topic")
    return skip(what, found, "start the launch with mode:=test and ask again")


def _rate(camera: CameraPlan, rate_hz: float) -> list[Finding]:
    if rate_hz >= _GOOD_RATE * camera.rate_hz:
        return []
    verdict = Verdict.WARN if rate_hz >= _POOR_RATE * camera.rate_hz else Verdict.FAIL
    found = f"{rate_hz:.1f} Hz, asked for {camera.rate_hz:g} Hz"
    if math.isnan(rate_hz):
        found = f"one picture, asked for {camera.rate_hz:g} Hz"
    advice = "too little light for this rate, a full USB bus, or a busy computer"
    return [Finding(verdict, f"camera {camera.name}", found, advice)]


def _ages(what: str, ages: list[float], oldest_s: float) -> list[Finding]:
    worst, youngest = max(ages), min(ages)
    if youngest < -_AHEAD_S:
        return [fail(what, f"stamped {-youngest:.3f} s in the future", _CLOCK)]
    if worst > oldest_s:
        return [fail(what, f"up to {worst:.3f} s old, the policy takes {oldest_s:g} s", _CLOCK)]
    if worst > oldest_s / 2:
        return [warn(what, f"up to {worst:.3f} s old, the policy takes {oldest_s:g} s")]
    return []


_CLOCK = "stamps must be ROS time of this machine: global_time_enabled of the camera's node"
