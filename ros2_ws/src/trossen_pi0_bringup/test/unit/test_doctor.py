"""The doctor's judgements, without ROS, arms or cameras."""

import json
import resource
import threading
import time

import numpy as np
import pytest

from trossen_pi0_bringup.arguments import Arguments, parse_command_line
from trossen_pi0_bringup.doctor import machine
from trossen_pi0_bringup.doctor.arms import check_limits, network_advice
from trossen_pi0_bringup.doctor.cameras import Pictures, check_camera
from trossen_pi0_bringup.doctor.checks import Check, run_checks
from trossen_pi0_bringup.doctor.command import DOCTOR_ARGUMENTS
from trossen_pi0_bringup.doctor.findings import Verdict, as_json, conclusion, fail, ok, skip, warn
from trossen_pi0_bringup.doctor.plan import CameraPlan, plan_of
from trossen_pi0_bringup.doctor.server import check_policy
from trossen_pi0_bringup.doctor.usb import check_usb, required_mbps
from trossen_pi0_control.arm import ArmLimits
from trossen_pi0_control.inspection import Inspection
from trossen_pi0_core.errors import ParameterError
from trossen_pi0_core.limits import WXAI_LOWER, WXAI_UPPER, WXAI_VELOCITY

CAMERA = CameraPlan("cam_high", "/cam_high/color/image_raw", "1234", 640, 480, 30.0)


def plan(*words):
    return plan_of(Arguments(DOCTOR_ARGUMENTS, parse_command_line(list(words))))


def verdicts(findings):
    return [finding.verdict for finding in findings]


# Lines ------------------------------------------------------------------------------------------


def test_lines_a_verdict_and_a_document_for_tools():
    findings = [ok("disk", "1 GB free"), warn("clock", "off", "set it"), skip("USB", "hidden")]
    assert findings[0].line == "OK    disk: 1 GB free"
    assert findings[1].line == "WARN  clock: off (set it)"
    assert conclusion(findings) == "READY: nothing failed; 1 warnings, 1 not looked at"
    told = json.loads(as_json([*findings, fail("arm left", "silent")]))
    assert told["ready"] is False
    assert told["findings"][3] == {
        "verdict": "FAIL",
        "what": "arm left",
        "found": "silent",
        "advice": "",
    }
    assert conclusion([fail("arm left", "silent")]).startswith("NOT READY: 1 of 1 checks failed")


def test_a_check_that_hangs_or_breaks_hides_no_other():
    release = threading.Event()

    def breaks():
        raise ValueError("no such thing")

    checks = [
        Check("hangs", lambda: [ok("hangs", str(release.wait(30.0)))]),
        Check("breaks", breaks),
        Check("works", lambda: [ok("works", "well")]),
    ]
    began_s = time.monotonic()
    results = run_checks(checks, longest_s=0.3)
    release.set()
    assert time.monotonic() - began_s < 5.0
    lines = [finding.line for _, findings in results for finding in findings]
    assert lines == [
        "FAIL  hangs: no result within 0.3 s",
        "FAIL  breaks: the check broke: ValueError: no such thing",
        "OK    works: well",
    ]


# The plan ---------------------------------------------------------------------------------------


def test_the_plan_is_what_the_launch_would_use(tmp_path):
    file = tmp_path / "mine.yaml"
    file.write_text("/**/recorder:\n  ros__parameters: {min_disk_mb: 77}\n")
    real = plan("sim:=false", "arm:=left", "cam_high_serial:=_12", f"params_file:={file}")
    assert real.addresses == {"left": "192.168.1.5"}
    assert [camera.name for camera in real.cameras] == ["cam_high", "cam_low", "cam_left_wrist"]
    assert real.cameras[0].serial == "12"
    assert (real.cameras[0].width, real.cameras[0].rate_hz) == (640, 30.0)
    assert real.recorder.min_disk_mb == 77
    assert real.policy is not None
    assert real.policy.backend == "openpi"
    simulated = plan("camera_width:=160", "camera_fps:=15")
    assert simulated.addresses == {"left": "127.0.0.2", "right": "127.0.0.3"}
    assert (simulated.cameras[3].width, simulated.cameras[3].rate_hz) == (160, 15.0)
    assert plan("teleop:=true").policy is None
    with pytest.raises(ParameterError, match="unknown argument 'arms'"):
        plan("arms:=left")


# Arms -------------------------------------------------------------------------------------------


def inspection(lower=WXAI_LOWER, upper=WXAI_UPPER, velocity=WXAI_VELOCITY, positions=(0.0,) * 7):
    limits = ArmLimits(np.array(lower), np.array(upper), np.array(velocity))
    return Inspection(
        "1.11.0", "1.11.0", "No error", frozenset({"idle"}), limits, np.array(positions)
    )


def test_limits_wider_than_configured_are_fine():
    (finding,) = check_limits(plan(), "left", inspection(upper=np.array(WXAI_UPPER) + 0.1))
    assert finding.verdict == Verdict.OK


def test_a_tighter_limit_is_told_and_one_that_cuts_off_a_pose_is_in_the_way():
    slower = np.array(WXAI_VELOCITY)
    slower[3] = 2.0
    (finding,) = check_limits(plan(), "left", inspection(velocity=slower))
    assert finding.verdict == Verdict.WARN
    assert "joint_3 [-1.571, 1.571] at 2/s" in finding.found
    cut = np.array(WXAI_UPPER)
    cut[1] = 0.9
    findings = check_limits(plan(), "right", inspection(upper=cut))
    assert verdicts(findings) == [Verdict.WARN, Verdict.FAIL]
    assert "the pose 'staged' lies outside: joint_1 at 1.047, allowed [0, 0.9]" in findings[1].found


def test_limits_without_sense_and_an_arm_outside_are_in_the_way():
    (finding,) = check_limits(plan(), "left", inspection(lower=WXAI_UPPER, upper=WXAI_LOWER))
    assert finding.verdict == Verdict.FAIL
    assert "make no sense" in finding.found
    (finding,) = check_limits(plan(), "left", inspection(positions=(0, -0.2, 0, 0, 0, 0, 0)))
    assert (finding.verdict, finding.what) == (Verdict.FAIL, "arm left position")
    assert "joint_1 at -0.2, allowed [0, 3.142]" in finding.found


def test_advice_names_the_network_that_is_missing():
    assert "no address in 203.0.113.0/24" in network_advice("203.0.113.5", sim=False)
    assert "cable" in network_advice("127.0.0.9", sim=False)
    assert "make sim" in network_advice("127.0.0.9", sim=True)


# Cameras ----------------------------------------------------------------------------------------


def pictures(rate_hz=30.0, age_s=0.03, shape=(640, 480, "rgb8"), serial="1234"):
    arrivals = [i / rate_hz for i in range(int(2 * rate_hz))]
    return Pictures(1, arrivals, [age_s] * len(arrivals), {shape}, {"diagnostics": serial})


def looked_at(seen, *, sim=False, running=True):
    findings = check_camera(CAMERA, seen, sim=sim, running=running, oldest_s=0.3)
    return [(finding.verdict, finding.found) for finding in findings]


def test_a_good_camera():
    assert looked_at(pictures()) == [
        (Verdict.OK, "1234 by its diagnostics"),
        (Verdict.OK, "640x480 rgb8, 30.0 Hz, 30 ms old"),
    ]


@pytest.mark.parametrize(
    ("seen", "verdict", "text"),
    [
        (pictures(rate_hz=20.0), Verdict.WARN, "20.0 Hz, asked for 30 Hz"),
        (pictures(rate_hz=10.0), Verdict.FAIL, "10.0 Hz, asked for 30 Hz"),
        (pictures(shape=(848, 480, "rgb8")), Verdict.WARN, "848x480 rgb8 on /cam_high/color"),
        (pictures(shape=(640, 480, "16UC1")), Verdict.FAIL, "the policy takes rgb8, bgr8"),
        (pictures(age_s=0.2), Verdict.WARN, "up to 0.200 s old"),
        (pictures(age_s=9.0), Verdict.FAIL, "up to 9.000 s old, the policy takes 0.3 s"),
        (pictures(age_s=-0.5), Verdict.FAIL, "stamped 0.500 s in the future"),
        (Pictures(publishers=1), Verdict.FAIL, "a publisher, but no picture"),
        (Pictures(), Verdict.FAIL, "nobody publishes /cam_high/color/image_raw"),
    ],
)
def test_a_camera_that_is_not_as_it_should_be(seen, verdict, text):
    (finding,) = looked_at(seen, sim=True)
    assert finding[0] == verdict
    assert text in finding[1]


def test_exchanged_cameras_are_found_by_their_serial_numbers():
    assert looked_at(pictures(serial="99"))[0] == (
        Verdict.FAIL,
        "99 by its diagnostics, 1234 is wanted",
    )
    assert looked_at(Pictures(), running=False)[0][0] == Verdict.SKIP  # nobody to ask
    assert looked_at(Pictures(), running=False)[1][0] == Verdict.SKIP


# USB --------------------------------------------------------------------------------------------


def usb_tree(root, *cameras, speeds=("480", "5000")):
    """Sysfs with a controller of two buses; cameras are (bus, port, speed)."""
    devices = root / "bus"
    devices.mkdir()
    for bus, speed in enumerate(speeds, start=1):
        hub = root / "devices" / "0000:00:14.0" / f"usb{bus}"
        hub.mkdir(parents=True)
        (hub / "speed").write_text(f"{speed}\n")
        (devices / f"usb{bus}").symlink_to(hub)
    for bus, port, speed in cameras:
        folder = root / "devices" / "0000:00:14.0" / f"usb{bus}" / port
        folder.mkdir()
        (folder / "idVendor").write_text("8086\n")
        (folder / "product").write_text("Intel(R) RealSense(TM) Depth Camera 405\n")
        (folder / "speed").write_text(f"{speed}\n")
        (devices / port).symlink_to(folder)
    return devices


def test_four_cameras_on_one_usb_3_bus_have_room(tmp_path):
    tree = usb_tree(tmp_path, *((2, f"2-{i}", "5000") for i in range(1, 5)))
    assert required_mbps([CAMERA]) == pytest.approx(147.5, abs=0.1)
    (finding,) = check_usb([CAMERA] * 4, tree)
    assert finding.verdict == Verdict.OK
    assert finding.found.startswith("4 cameras need 590 of 5000 Mbit/s (controller 0000:00:14.0")


def test_cameras_on_usb_2_are_told_and_too_many_are_in_the_way(tmp_path):
    tree = usb_tree(tmp_path, *((1, f"1-{i}", "480") for i in range(1, 5)))
    findings = check_usb([CAMERA] * 4, tree)
    assert verdicts(findings) == [Verdict.WARN] * 4 + [Verdict.FAIL]
    assert "4 cameras need 590 of 480 Mbit/s" in findings[-1].found


def test_a_camera_that_is_not_plugged_in_is_missed(tmp_path):
    (finding,) = check_usb([CAMERA] * 2, usb_tree(tmp_path, (2, "2-1", "5000")))
    assert (finding.verdict, finding.found) == (
        Verdict.FAIL,
        "1 RealSense cameras, 2 are wanted; at 2-1",
    )
    assert check_usb([CAMERA], tmp_path / "none")[0].verdict == Verdict.SKIP


# The computer -----------------------------------------------------------------------------------


def test_a_full_disk_fails_where_runs_are_recorded(tmp_path):
    file = tmp_path / "mine.yaml"
    file.write_text("/**/recorder:\n  ros__parameters: {min_disk_mb: 900000000}\n")
    words = [f"params_file:={file}", f"episodes_dir:={tmp_path}/new/episodes"]
    (finding,) = machine.check_disk(plan("record:=true", *words))
    assert finding.verdict == Verdict.FAIL
    assert "an episode needs 900000000 MB" in finding.found
    assert machine.check_disk(plan(*words))[0].verdict == Verdict.WARN
    assert list(tmp_path.iterdir()) == [file]  # nothing is left


def test_a_disk_that_takes_nothing_fails(tmp_path):
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, hard))
    try:
        findings = machine.check_disk(plan("record:=true", f"episodes_dir:={tmp_path}"))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert findings[-1].verdict == Verdict.FAIL
    assert "cannot write in" in findings[-1].found
    assert not list(tmp_path.iterdir())


def test_a_slow_disk_is_told_with_what_recording_needs(tmp_path, monkeypatch):
    monkeypatch.setattr(machine, "write_speed", lambda _: 10e6)
    asked = plan("record:=true", f"episodes_dir:={tmp_path}", "sim:=false")
    (finding,) = machine.check_disk(asked)
    assert finding.verdict == Verdict.FAIL
    assert "writes 10 MB/s" in finding.found
    assert "needs 111 MB/s" in finding.found


def test_the_transport_profile_is_told(tmp_path):
    shipped, own = tmp_path / "fastdds.xml", tmp_path / "own.xml"
    shipped.write_text("<dds/>")
    own.write_text("<dds></dds>")
    name = "FASTDDS_DEFAULT_PROFILES_FILE"
    (finding,) = machine.check_shared_memory({}, shipped, tmp_path)
    assert finding.found.startswith("the suite's profile")
    (finding,) = machine.check_shared_memory({name: str(own)}, shipped, tmp_path)
    assert finding.found.startswith(f"your own profile {own}")
    (finding,) = machine.check_shared_memory({name: "/nowhere.xml"}, shipped, tmp_path)
    assert finding.verdict == Verdict.FAIL


def test_a_governor_that_saves_power_is_a_warning_on_the_robot_alone(tmp_path):
    folder = tmp_path / "cpu0" / "cpufreq"
    folder.mkdir(parents=True)
    (folder / "scaling_governor").write_text("powersave\n")
    told = [finding.found for finding in machine.check_processor(sim=False, cpus=tmp_path)]
    assert "frequency governor powersave" in told
    assert verdicts(machine.check_processor(sim=True, cpus=tmp_path)) == [Verdict.OK]


def test_the_clock_is_asked_of_the_kernel():
    (finding,) = machine.check_clock()
    assert finding.what == "clock"
    assert finding.verdict in (Verdict.OK, Verdict.WARN), finding.line


# The policy -------------------------------------------------------------------------------------


def test_a_server_that_is_down_fails():
    (finding,) = check_policy(plan("backend:=openpi", "policy_port:=1").policy)
    assert finding.verdict == Verdict.FAIL
    assert "cannot be reached" in finding.found


def test_what_a_backend_needs_is_looked_for(tmp_path):
    assert check_policy(plan().policy)[0].verdict == Verdict.OK
    assert check_policy(None)[0].verdict == Verdict.SKIP
    gone = plan("backend:=replay", f"replay_file:={tmp_path}/none.npz").policy
    assert check_policy(gone)[0].found == f"there is no file {tmp_path}/none.npz"


@pytest.mark.parametrize(
    ("refusal", "real", "simulated"),
    [("", Verdict.OK, Verdict.OK), ("Operation not permitted", Verdict.WARN, Verdict.SKIP)],
)
def test_priority_of_the_arm_controller(monkeypatch, refusal, real, simulated):
    monkeypatch.setattr(machine, "realtime_refusal", lambda _: refusal)
    (finding,) = machine.check_priority(50, sim=False)
    assert finding.verdict == real
    assert refusal in finding.found
    assert ("rtprio" in finding.advice) == bool(refusal)
    assert verdicts(machine.check_priority(50, sim=True)) == [simulated]
    assert verdicts(machine.check_priority(0, sim=False)) == [Verdict.SKIP]
