"""The cameras' USB ports, as the kernel tells: how fast they are and what shares them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from trossen_pi0_bringup.doctor.findings import Finding, fail, ok, skip, warn
from trossen_pi0_bringup.doctor.plan import CameraPlan

SYSFS = Path("/sys/bus/usb/devices")

_INTEL = "8086"
_NAME = "RealSense"
_BYTES_A_PIXEL = 2  # colour goes over the wire as YUYV
_SHARE = 0.6  # of a bus's nominal speed that its pictures may take; the rest is overhead
_SUPER_SPEED = 5000.0


@dataclass(frozen=True)
class UsbCamera:
    """A RealSense camera on the bus.

    Attributes:
        product: its name, such as 'Intel(R) RealSense(TM) Depth Camera 405'.
        port: bus and ports, such as '2-3.1'.
        speed_mbps: of its connection [Mbit/s].
        controller: of its bus, such as '0000:00:14.0'.
        bus: number of its bus; a controller has one for USB 2 and one for USB 3.
        bus_mbps: speed of its bus [Mbit/s].
    """

    product: str
    port: str
    speed_mbps: float
    controller: str
    bus: int
    bus_mbps: float


def find_cameras(sysfs: Path = SYSFS) -> list[UsbCamera]:
    """The RealSense cameras that are plugged in, by port."""
    found = [_camera(folder) for folder in sorted(sysfs.glob("*")) if _is_camera(folder)]
    return [camera for camera in found if camera]


def check_usb(cameras: Sequence[CameraPlan], sysfs: Path = SYSFS) -> list[Finding]:
    """Number, speed and load of the cameras' ports."""
    what = "USB"
    if not sysfs.is_dir():
        return [skip(what, f"there is no {sysfs}: are USB devices hidden from this container?")]
    found = find_cameras(sysfs)
    if len(found) < len(cameras):
        told = ", ".join(camera.port for camera in found) or "none"
        return [
            fail(
                what,
                f"{len(found)} RealSense cameras, {len(cameras)} are wanted; at {told}",
                "plug them in; udev rules: docs/hardware.md",
            )
        ]
    findings = [
        warn(
            f"{what} {camera.port}",
            f"{camera.product} at {camera.speed_mbps:g} Mbit/s",
            "a USB 3 port and a USB 3 cable give 5000",
        )
        for camera in found
        if camera.speed_mbps < _SUPER_SPEED
    ]
    return findings + _loads(found, required_mbps(cameras))


def required_mbps(cameras: Sequence[CameraPlan]) -> float:
    """What one camera sends at most [Mbit/s]."""
    bytes_a_second = (c.width * c.height * _BYTES_A_PIXEL * c.rate_hz for c in cameras)
    return 8e-6 * max(bytes_a_second, default=0.0)


def _loads(found: Sequence[UsbCamera], each_mbps: float) -> list[Finding]:
    findings: list[Finding] = []
    for controller, bus in dict.fromkeys((c.controller, c.bus) for c in found):
        here = [c for c in found if (c.controller, c.bus) == (controller, bus)]
        needed, speed = each_mbps * len(here), here[0].bus_mbps
        what = f"USB bus {bus}"
        told = (
            f"{len(here)} cameras need {needed:.0f} of {speed:g} Mbit/s "
            f"(controller {controller}, ports {', '.join(c.port for c in here)})"
        )
        if needed > speed:
            findings.append(fail(what, told, "spread the cameras over other controllers"))
        elif needed > _SHARE * speed:
            findings.append(warn(what, told, "pictures may be lost; spread the cameras"))
        else:
            findings.append(ok(what, told))
    return findings


def _is_camera(folder: Path) -> bool:
    return _read(folder / "idVendor") == _INTEL and _NAME in _read(folder / "product")


def _camera(folder: Path) -> UsbCamera | None:
    real = folder.resolve()
    root = next((p for p in real.parents if re.fullmatch(r"usb\d+", p.name)), None)
    if root is None:
        return None  # unplugged meanwhile
    return UsbCamera(
        product=_read(folder / "product"),
        port=folder.name,
        speed_mbps=_number(folder / "speed"),
        controller=root.parent.name,
        bus=int(root.name.removeprefix("usb")),
        bus_mbps=_number(root / "speed"),
    )


def _read(path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError:  # interfaces have no such files, and devices go
        return ""


def _number(path: Path) -> float:
    text = _read(path)
    return float(text) if text else 0.0
