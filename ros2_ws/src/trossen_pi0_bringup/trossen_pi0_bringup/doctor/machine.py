"""This computer: clock, disk, shared memory, processor."""

from __future__ import annotations

import ctypes
import os
import shutil
import time
from collections.abc import Mapping
from pathlib import Path

from trossen_pi0_bringup.doctor.findings import Finding, fail, ok, skip, warn
from trossen_pi0_bringup.doctor.plan import Plan
from trossen_pi0_bringup.transport import PROFILE_VARIABLES
from trossen_pi0_core.scheduling import realtime_refusal

SHARED_MEMORY = Path("/dev/shm")
GOVERNORS = Path("/sys/devices/system/cpu")

_TIMEX_BYTES = 256  # more than struct timex has
_TIMEX_LONGS = 5  # modes, offset, freq, maxerror, esterror; status follows
_UNSYNCHRONISED = 0x40
_SAMPLE_BYTES = 32 << 20
_SAMPLE_S = 2.0
_PICTURE_SHARE = {"none": 1.0, "jpeg": 0.15, "h264": 0.02}
"""What compression leaves of pictures, about."""
_SEGMENT_BYTES = 64 << 20  # of each node's shared memory, as in fastdds.xml
_NODES = 8
_RTPRIO = (
    "`USER - rtprio 99` in /etc/security/limits.conf, then a new login; docker: `ulimits: rtprio`"
)


def check_clock() -> list[Finding]:
    """Whether the system's clock is synchronised, by the kernel."""
    state = ctypes.create_string_buffer(_TIMEX_BYTES)
    if ctypes.CDLL(None, use_errno=True).adjtimex(state) < 0:
        return [skip("clock", f"the kernel does not tell: {os.strerror(ctypes.get_errno())}")]
    longs = (ctypes.c_long * _TIMEX_LONGS).from_buffer(state)
    status = ctypes.c_int.from_buffer(state, ctypes.sizeof(longs)).value
    server = "a policy server's clock is not known by its protocol, and not needed"
    if status & _UNSYNCHRONISED:
        advice = "`timedatectl set-ntp true`, or chrony; matters when several computers run nodes"
        return [warn("clock", "not synchronised", advice)]
    return [ok("clock", f"synchronised, at most {longs[3] / 1e6:.3f} s off; {server}")]


def check_disk(plan: Plan) -> list[Finding]:
    """Room and speed of the disk that episodes go to."""
    recorder, what = plan.recorder, "disk"
    folder = Path(recorder.episodes_dir).expanduser().absolute()
    asked, grade = folder, fail if plan.record else warn
    while not folder.is_dir():  # it is made with the first episode
        folder = folder.parent
    free_mb = shutil.disk_usage(folder).free / 1e6
    findings: list[Finding] = []
    if free_mb <= recorder.min_disk_mb:
        told = f"{free_mb:.0f} MB free for {asked}, an episode needs {recorder.min_disk_mb} MB"
        findings.append(grade(what, told, "make room, or name another episodes_dir"))
    try:
        speed = write_speed(folder)
    except OSError as error:
        told = f"cannot write in {folder}: {error.strerror or error}"
        return [*findings, grade(what, told, "name another episodes_dir")]
    needed = recording_rate(plan)
    told = f"writes {speed / 1e6:.0f} MB/s in {folder}, recording needs {needed / 1e6:.0f} MB/s"
    if speed < needed:
        compression = "a faster disk, or image_compression:=jpeg or h264"
        findings.append(grade(f"{what} speed", told, compression))
    return findings or [ok(what, f"{free_mb / 1e3:.1f} GB free; {told}")]


def write_speed(folder: Path) -> float:
    """How fast a folder takes bytes down to the disk [B/s].

    Raises:
        OSError: it takes none.
    """
    path = folder / f".doctor-{os.getpid()}"
    block = os.urandom(1 << 20)
    written, began_s = 0, time.monotonic()
    try:
        with path.open("wb", buffering=0) as file:
            while written < _SAMPLE_BYTES and time.monotonic() - began_s < _SAMPLE_S:
                written += file.write(block)
                os.fdatasync(file.fileno())
    finally:
        path.unlink(missing_ok=True)
    return written / (time.monotonic() - began_s)


def recording_rate(plan: Plan) -> float:
    """What recording writes [B/s], about."""
    raw = sum(3 * c.width * c.height * c.rate_hz for c in plan.cameras)
    return raw * _PICTURE_SHARE[plan.recorder.image_compression]


def check_shared_memory(
    environment: Mapping[str, str], shipped: Path, folder: Path = SHARED_MEMORY
) -> list[Finding]:
    """Whether pictures go through shared memory, and whether it is large enough.

    Args:
        environment: of the nodes.
        shipped: the suite's own transport profile.
        folder: where shared memory is.
    """
    what = "shared memory"
    named = next((environment[name] for name in PROFILE_VARIABLES if environment.get(name)), "")
    if named and not Path(named).is_file():
        return [fail(what, f"there is no transport profile {named}", "unset the variable")]
    own = bool(named) and Path(named).read_bytes() != shipped.read_bytes()
    profile = f"your own profile {named}" if own else "the suite's profile"
    free, needed = shutil.disk_usage(folder).free, _NODES * _SEGMENT_BYTES
    told = f"{profile}; {free / 1e6:.0f} MB free in {folder}"
    if free < needed:
        advice = "`docker run --shm-size 1g`; what dead processes left: `fastdds shm clean`"
        return [warn(what, f"{told}, {_NODES} nodes take {needed / 1e6:.0f} MB", advice)]
    return [ok(what, told)]


def check_processor(*, sim: bool, cpus: Path = GOVERNORS) -> list[Finding]:
    """What the control loop's timing depends on."""
    findings: list[Finding] = []
    cores, load = os.cpu_count() or 1, os.getloadavg()[0]
    told = f"load {load:.1f} on {cores} cores"
    if load > cores and not sim:  # a simulated kit is a load
        findings.append(warn("processor", told, "end what else runs: ticks will be late"))
    governors = {
        path.read_text().strip() for path in cpus.glob("cpu[0-9]*/cpufreq/scaling_governor")
    }
    if governors - {"performance"} and not sim:
        names = ", ".join(sorted(governors))
        advice = "`sudo cpupower frequency-set -g performance`"
        findings.append(warn("processor", f"frequency governor {names}", advice))
    return findings or [ok("processor", told)]


def check_priority(priority: int, *, sim: bool) -> list[Finding]:
    """Whether the arm controller may go before other programs.

    Args:
        priority: that it asks for; 0: none.
        sim: the kit is simulated.
    """
    what = "real-time priority"
    if not priority:
        return [skip(what, "the arm controller asks for none")]
    refusal = realtime_refusal(priority)
    if not refusal:
        return [ok(what, f"{priority} is granted to the arm controller")]
    told = f"{priority} is not granted to the arm controller: {refusal}"
    if sim:
        return [skip(what, f"{told}; the simulated kit does without")]
    return [warn(what, told, _RTPRIO)]
