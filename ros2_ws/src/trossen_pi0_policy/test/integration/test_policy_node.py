"""The policy node over DDS, with a policy server, cameras, joints and an arm controller."""

from __future__ import annotations

import math
import os
import signal
import subprocess
import sys
import threading
import time

import numpy as np
import pytest
from action_msgs.msg import GoalStatus
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from rclpy.parameter import Parameter

from trossen_pi0_core.joints import JointMap
from trossen_pi0_msgs.action import RunPolicy
from trossen_pi0_msgs.msg import ControllerStatus, GroundTruth, PolicyStatus
from trossen_pi0_policy.state import Outcome, PolicyState
from trossen_pi0_ros.convert import time_ns
from trossen_pi0_sim.expert import HandoverExpert

IDLE, STARTING, RUNNING, STALLED, ERROR = (
    PolicyStatus.IDLE,
    PolicyStatus.STARTING,
    PolicyStatus.RUNNING,
    PolicyStatus.STALLED,
    PolicyStatus.ERROR,
)
NAMES = JointMap().urdf_names


@pytest.fixture
def openpi(ros, policy_server):
    """A policy node that asks the server every 5 rows of 30 Hz, with all inputs there."""

    def start(**parameters):
        ros.start_policy(policy_port=policy_server.port, rate_of_inference=5, **parameters)
        ros.kit.wait_for_inputs()
        return ros.kit

    return start


def rows(chunk):
    return np.asarray(chunk.positions).reshape(chunk.horizon, len(chunk.joint_names))


def test_constants_are_those_of_the_messages():
    for state in PolicyState:
        assert getattr(PolicyStatus, state.name) == state
    for outcome in Outcome:
        assert getattr(RunPolicy.Result, outcome.name) == outcome


# Runs ---------------------------------------------------------------------------------------------


def test_a_run_from_pictures_to_chunks_until_it_is_cancelled(openpi, policy_server):
    kit = openpi(image_size=64)
    trials = len(policy_server.requests)
    feedback = []
    handle = kit.send("pick it up", feedback=lambda message: feedback.append(message.feedback))
    assert handle.accepted
    kit.wait_for_chunks(4)
    status = kit.wait_for_status(lambda status: status.chunk_id >= 4, "the fourth chunk")
    cancelled = handle.cancel_goal_async()
    code, result = kit.result(handle)
    assert cancelled.done()
    assert code == GoalStatus.STATUS_CANCELED
    assert (result.outcome, result.message) == (RunPolicy.Result.STOPPED, "cancelled")

    kit.wait_for_chunks(result.chunks)
    chunks = kit.chunks
    assert len(chunks) == result.chunks
    assert {chunk.run_id for chunk in chunks} == {result.run_id}
    assert [chunk.chunk_id for chunk in chunks] == list(range(1, len(chunks) + 1))
    assert [chunk.last for chunk in chunks] == [False] * (len(chunks) - 1) + [True]
    assert chunks[-1].horizon == 0
    # The first one finds the arms at rest and begins when it is published.
    seen_ns, begins_ns = time_ns(chunks[0].observation_stamp), time_ns(chunks[0].t_first)
    assert seen_ns < begins_ns <= time_ns(chunks[0].header.stamp)
    assert all(chunk.t_first == chunk.observation_stamp for chunk in chunks[1:4])
    for chunk in chunks[:4]:
        assert tuple(chunk.joint_names) == NAMES
        assert rows(chunk).shape == (50, 14)
        np.testing.assert_allclose(rows(chunk), np.tile(kit.positions, (50, 1)), atol=1e-7)
        assert (chunk.period.sec, chunk.period.nanosec) == (0, 33_333_333)
        late_s = (time_ns(chunk.header.stamp) - time_ns(chunk.observation_stamp)) / 1e9
        assert 0.0 < late_s < 2.0
    span_ns = time_ns(chunks[3].observation_stamp) - time_ns(chunks[0].observation_stamp)
    assert span_ns >= 0.3e9  # three times five rows are 0.5 s

    request = policy_server.requests[trials]
    assert request["prompt"] == "pick it up"
    np.testing.assert_allclose(request["state"], kit.positions, rtol=1e-6)
    assert set(request["images"]) == {"cam_high", "cam_low", "cam_left_wrist", "cam_right_wrist"}
    image = request["images"]["cam_low"]
    assert (image.shape, image.dtype) == ((3, 64, 64), np.uint8)
    assert image[:, 32, 32].tolist() == [10, 20, 30]  # red, green, blue
    assert not image[:, :8].any()  # 32x24 fills 64x48
    assert not image[:, 56:].any()

    assert status.state == RUNNING
    assert (status.backend, status.prompt) == ("openpi", "pick it up")
    assert status.run_id == result.run_id
    assert 0.0 < status.inference_latency_s < 2.0
    assert status.inference_latency_p50_s <= status.inference_latency_p95_s
    assert status.chunk_latency_s == pytest.approx(
        status.inference_latency_s + status.overhead_latency_s
    )
    assert status.images_received > 0
    assert 0.0 <= status.observation_age_s < 2.0
    assert feedback
    assert feedback[-1].state == RUNNING
    after = kit.wait_for_state(IDLE)
    assert (after.run_id, after.reason) == ("", "cancelled")


def test_the_time_limit_of_the_goal(openpi):
    kit = openpi()
    code, result = kit.result(kit.send(max_duration_s=0.4))
    assert code == GoalStatus.STATUS_SUCCEEDED
    assert result.outcome == RunPolicy.Result.TIMEOUT
    assert result.message == "the time limit of 0.4 s is over"
    assert 0.4 <= result.duration_s < 3.0
    kit.wait_for_chunks(result.chunks)
    assert kit.chunks[-1].last


def test_one_run_at_a_time_and_bad_goals_are_rejected(openpi):
    kit = openpi()
    handle = kit.send()
    kit.wait_for_chunks(1)
    assert not kit.send().accepted
    assert kit.call(kit.stop).success
    code, result = kit.result(handle)
    assert code == GoalStatus.STATUS_ABORTED
    assert (result.outcome, result.message) == (RunPolicy.Result.STOPPED, "stopped by the operator")
    for duration in (-1.0, math.nan, math.inf):
        assert not kit.send(max_duration_s=duration).accepted
    assert not kit.send(" \n").accepted


def test_start_and_stop_services(openpi, policy_server):
    kit = openpi(prompt="by default")
    assert not kit.call(kit.stop).success
    answer = kit.call(kit.start)
    assert answer.success
    kit.wait_for_chunks(2)
    assert kit.chunks[0].run_id in answer.message
    assert policy_server.requests[-1]["prompt"] == "by default"
    again = kit.call(kit.start)
    assert not again.success
    assert "is under way" in again.message
    assert kit.call(kit.stop).success
    kit.wait_for_status(lambda status: status.reason == "stopped by the operator", "the stop")
    assert kit.call(kit.start).success
    first = kit.chunks[0].run_id
    kit.wait_for_status(lambda status: status.run_id not in ("", first), "another run")


def test_live_parameters_reach_the_run_under_way(openpi, policy_server, ros):
    kit = openpi(prompt="first")
    kit.call(kit.start)
    kit.wait_for_chunks(1)
    ros.policy.set_parameters(
        [
            Parameter("prompt", value="second"),
            Parameter("control_rate", value=50.0),
            Parameter("rate_of_inference", value=10),
        ]
    )
    ros.wait_until(lambda: kit.chunks[-1].period.nanosec == 20_000_000, "the new period")
    assert policy_server.requests[-1]["prompt"] == "second"
    (refused,) = ros.policy.set_parameters([Parameter("rate_of_inference", value=0)])
    assert not refused.successful
    (refused,) = ros.policy.set_parameters([Parameter("backend", value="expert")])
    assert not refused.successful


def test_diagnostics_once_a_second(openpi, ros):
    entries = []
    ros.peer.create_subscription(DiagnosticArray, "/diagnostics", entries.append, 10)
    openpi()
    ros.wait_until(lambda: len(entries) >= 3, "diagnostics")
    statuses = {status.name: status for status in entries[-1].status}
    assert list(statuses) == [
        "policy: state",
        "policy: backend",
        "policy: inference",
        "policy: cam_high",
        "policy: cam_low",
        "policy: cam_left_wrist",
        "policy: cam_right_wrist",
        "policy: joint states",
    ]
    assert statuses["policy: state"].message == "IDLE"
    assert statuses["policy: cam_low"].hardware_id == "/cam_low/color/image_raw"
    gap_ns = time_ns(entries[2].header.stamp) - time_ns(entries[1].header.stamp)
    assert 0.9e9 <= gap_ns <= 3e9


class Grades:
    """The newest level and message of each entry in /diagnostics."""

    def __init__(self, ros):
        self._ros = ros
        self._latest = {}
        ros.peer.create_subscription(DiagnosticArray, "/diagnostics", self._take, 10)

    def _take(self, message):
        self._latest.update({status.name: status for status in message.status})

    def wait_for(self, name, level, text=""):
        def found():
            status = self._latest.get(f"policy: {name}")
            return status is not None and status.level == level and text in status.message

        self._ros.wait_until(found, f"{name} at level {level!r} with {text!r}")


def test_a_stopped_camera_is_told_in_diagnostics_until_it_is_back(openpi, ros):
    grades = Grades(ros)
    kit = openpi(warn_picture_rate=5.0, error_picture_rate=1.0)
    grades.wait_for("cam_left_wrist", DiagnosticStatus.OK, "comes on /cam_left_wrist/color")
    (set_result,) = ros.policy.set_parameters([Parameter("warn_picture_rate", value=500.0)])
    assert set_result.successful
    grades.wait_for("cam_left_wrist", DiagnosticStatus.WARN, "WARN at or below 500")
    ros.policy.set_parameters([Parameter("warn_picture_rate", value=5.0)])
    kit.cameras.remove("cam_left_wrist")
    grades.wait_for("cam_left_wrist", DiagnosticStatus.ERROR, "age [s] is ")
    grades.wait_for("cam_high", DiagnosticStatus.OK)
    kit.cameras.add("cam_left_wrist")
    grades.wait_for("cam_left_wrist", DiagnosticStatus.OK, "comes on")
    (set_result,) = ros.policy.set_parameters([Parameter("error_picture_rate", value=6.0)])
    assert "must not be greater than warn_picture_rate" in set_result.reason


def test_an_input_that_never_came_is_stale_and_a_server_that_is_gone_an_error(ros, policy_server):
    grades = Grades(ros)
    ros.kit.cameras.remove("cam_low")
    ros.start_policy(policy_port=policy_server.port)
    grades.wait_for("cam_low", DiagnosticStatus.STALE, "nothing has come yet")
    grades.wait_for("backend", DiagnosticStatus.OK, "ready")
    policy_server.stop()
    ros.kit.cameras.add("cam_low")
    ros.kit.wait_for_status(lambda status: not status.missing, "all inputs")
    ros.kit.call(ros.kit.start)
    grades.wait_for("backend", DiagnosticStatus.ERROR, "cannot be reached")


# Inputs that are not as they should be ------------------------------------------------------------


def test_a_camera_that_goes_missing_stalls_the_run_until_it_is_back(openpi):
    kit = openpi()
    kit.call(kit.start)
    kit.wait_for_chunks(1)
    kit.cameras.remove("cam_left_wrist")
    status = kit.wait_for_state(STALLED)
    assert [text.split(":")[0] for text in status.missing] == ["cam_left_wrist"]
    assert status.reason.startswith("cam_left_wrist: newest picture ")
    count = len(kit.chunks)
    kit.cameras.add("cam_left_wrist")
    kit.wait_for_chunks(count + 1)
    kit.wait_for_state(RUNNING)


def test_a_camera_that_never_comes_fails_the_run(openpi, ros, policy_server):
    kit = ros.kit
    kit.cameras.remove("cam_low")
    ros.start_policy(policy_port=policy_server.port, stall_timeout_s=0.5)
    kit.wait_for_status(lambda status: len(status.missing) == 1, "the other inputs")
    code, result = kit.result(kit.send())
    assert code == GoalStatus.STATUS_ABORTED
    assert result.outcome == RunPolicy.Result.FAILED
    assert result.message == "no chunk for 0.5 s: cam_low: no picture received"
    assert kit.chunks == []
    assert kit.wait_for_state(ERROR).reason == result.message


def test_a_wrong_encoding_is_named_and_never_used(openpi):
    kit = openpi()
    kit.call(kit.start)
    kit.wait_for_chunks(1)
    kit.encoding["cam_high"] = "mono8"
    status = kit.wait_for_state(STALLED)
    assert "cam_high" in status.reason
    assert "encoding 'mono8' is not one of ['rgb8', 'bgr8'" in status.reason


def test_pictures_in_bgr_are_turned_round(openpi, policy_server):
    kit = openpi(image_size=64)
    kit.encoding = dict.fromkeys(kit.cameras, "bgr8")
    kit.call(kit.start)
    kit.wait_for_chunks(4)
    image = policy_server.requests[-1]["images"]["cam_high"]
    assert image[:, 32, 32].tolist() == [30, 20, 10]


@pytest.mark.parametrize("change", ["names", "nan", "silent"])
def test_joint_states_that_cannot_be_used(openpi, change):
    kit = openpi()
    kit.call(kit.start)
    kit.wait_for_chunks(1)
    if change == "names":
        kit.joint_names = ("other_joint", *NAMES[1:])
    elif change == "nan":
        kit.positions = np.full(14, np.nan)
    else:
        kit.publish_joints = False
    says = {"names": "joints missing: ['follower_left_joint_0']", "nan": "not finite"}
    status = kit.wait_for_state(STALLED)
    assert status.missing[0].startswith("joint states: ")
    assert says.get(change, "joint states: ") in status.reason


# A server that is not as it should be -------------------------------------------------------------


def test_a_server_that_dies_and_returns(openpi, policy_server):
    kit = openpi()
    kit.call(kit.start)
    kit.wait_for_chunks(2)
    policy_server.stop()
    status = kit.wait_for_state(STALLED)
    assert "policy server" in status.reason
    assert status.inference_failures >= 1
    count = len(kit.chunks)
    policy_server.start()
    kit.wait_for_chunks(count + 1)
    assert kit.wait_for_state(RUNNING).reason == ""
    assert len({chunk.run_id for chunk in kit.chunks}) == 1


def test_a_server_that_never_comes_fails_the_run(ros, policy_server):
    policy_server.stop()
    ros.start_policy(policy_port=policy_server.port, stall_timeout_s=0.6)
    kit = ros.kit
    status = kit.wait_for_status(lambda status: "cannot be reached" in status.reason, "the reason")
    assert status.state == IDLE
    _, result = kit.result(kit.send())
    assert result.outcome == RunPolicy.Result.FAILED
    assert "cannot be reached" in result.message
    assert f"ws://127.0.0.1:{policy_server.port}" in result.message


def test_a_server_for_another_robot_is_found_out_before_a_run(ros, policy_server):
    policy_server.answer = lambda _: {"actions": np.zeros((50, 32))}
    ros.start_policy(policy_port=policy_server.port)
    status = ros.kit.wait_for_status(lambda status: "(50, 32)" in status.reason, "the reason")
    assert status.state == IDLE
    assert "must have shape (horizon >= 1, 14)" in status.reason


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        ("Traceback\nValueError: no such camera", "failed: ValueError: no such camera"),
        (b"\xc1", "bad answer"),
        ({"actions": np.full((50, 14), np.nan)}, "must be finite, got nan"),
    ],
)
def test_answers_that_make_no_sense_move_nothing(openpi, policy_server, answer, says):
    kit = openpi()
    policy_server.answer = lambda _: answer
    kit.call(kit.start)
    assert says in kit.wait_for_state(STALLED).reason
    assert kit.chunks == []


def test_cancelling_does_not_wait_for_a_slow_answer(openpi, policy_server, ros):
    kit = openpi()
    handle = kit.send()
    kit.wait_for_chunks(1)
    inside, release = threading.Event(), threading.Event()

    def slow(_):
        inside.set()
        release.wait(10.0)

    policy_server.answer = slow
    assert inside.wait(10.0)
    began = time.monotonic()
    handle.cancel_goal_async()
    ros.wait_until(lambda: kit.chunks[-1].last, "the order to hold")
    kit.result(handle)
    assert time.monotonic() - began < 5.0
    release.set()


# The arm controller -------------------------------------------------------------------------------


def test_the_arms_go_to_the_start_pose_first(openpi, ros):
    controller = ros.controller()
    controller.hold_moves.set()
    kit = openpi(start_pose="staged")
    handle = kit.send()
    kit.wait_for_state(STARTING)
    ros.wait_until(lambda: controller.moves == ["staged"], "the move")
    assert kit.chunks == []
    arrived_ns = kit.node.get_clock().now().nanoseconds
    controller.hold_moves.clear()
    kit.wait_for_chunks(1)
    assert time_ns(kit.chunks[0].observation_stamp) >= arrived_ns
    handle.cancel_goal_async()


def test_a_move_that_fails_ends_the_run(openpi, ros):
    controller = ros.controller()
    controller.move_result = (False, "blocked by the table")
    kit = openpi(start_pose="home")
    _, result = kit.result(kit.send())
    assert result.outcome == RunPolicy.Result.FAILED
    assert result.message == "start pose 'home': blocked by the table"
    assert kit.chunks == []


def test_cancelling_during_the_move_cancels_the_move(openpi, ros):
    controller = ros.controller()
    controller.hold_moves.set()
    kit = openpi(start_pose="staged")
    handle = kit.send()
    ros.wait_until(lambda: controller.moves, "the move")
    handle.cancel_goal_async()
    code, result = kit.result(handle)
    assert (code, result.outcome) == (GoalStatus.STATUS_CANCELED, RunPolicy.Result.STOPPED)
    ros.wait_until(lambda: controller.cancelled, "the end of the move")
    assert kit.chunks == []


def test_without_an_arm_controller_there_is_no_start_pose(openpi):
    kit = openpi(start_pose="staged", stall_timeout_s=0.5)
    _, result = kit.result(kit.send())
    assert result.message == "start pose 'staged': there is no action /arm_controller/move_to"


def test_a_ramp_pauses_inference_and_is_followed_by_a_fresh_one(openpi, policy_server, ros):
    controller = ros.controller()
    controller.say(ControllerStatus.HOLDING)
    kit = openpi()
    kit.call(kit.start)
    kit.wait_for_chunks(1)
    run_id = kit.chunks[0].run_id
    controller.say(ControllerStatus.RAMPING, run_id, "moving to the first row of the run")
    kit.wait_for_status(lambda status: status.reason.startswith("moving to"), "the ramp")
    count, asked = len(kit.chunks), len(policy_server.requests)
    seen = len(kit.statuses)
    ros.wait_until(lambda: len(kit.statuses) >= seen + 10, "half a second of ramp")
    assert len(policy_server.requests) <= asked + 1
    assert len(kit.chunks) <= count + 1
    count, arrived_ns = len(kit.chunks), kit.node.get_clock().now().nanoseconds
    controller.say(ControllerStatus.HOLDING, run_id, "waiting for a fresh chunk")
    kit.wait_for_chunks(count + 1)
    assert time_ns(kit.chunks[count].observation_stamp) >= arrived_ns


@pytest.mark.parametrize("state", [ControllerStatus.FAULT, ControllerStatus.ESTOP])
def test_a_fault_of_the_arms_ends_the_run(openpi, ros, state):
    controller = ros.controller()
    kit = openpi()
    handle = kit.send()
    kit.wait_for_chunks(1)
    controller.say(state, reason="joint_3 of the left arm is hot")
    _, result = kit.result(handle)
    assert result.outcome == RunPolicy.Result.FAILED
    assert result.message.endswith(": joint_3 of the left arm is hot")
    ros.wait_until(lambda: kit.chunks[-1].last, "the last chunk")
    _, result = kit.result(kit.send())
    assert result.message.endswith(": joint_3 of the left arm is hot")


def test_chunks_that_the_controller_refuses_fail_the_run(openpi, ros):
    controller = ros.controller()
    controller.say(ControllerStatus.HOLDING)
    kit = openpi(stall_timeout_s=0.6)
    handle = kit.send()
    kit.wait_for_chunks(1)

    def refuse():
        controller.say(
            ControllerStatus.HOLDING,
            chunks_rejected=len(kit.chunks),
            last_rejection="it is for other joints",
        )

    timer = controller.node.create_timer(0.05, refuse)
    _, result = kit.result(handle)
    controller.node.destroy_timer(timer)
    assert result.outcome == RunPolicy.Result.FAILED
    assert "the arm controller refused a chunk: it is for other joints" in result.message


# Lifecycle ----------------------------------------------------------------------------------------


def test_deactivating_ends_the_run_and_activating_allows_the_next(openpi, ros):
    kit = openpi()
    handle = kit.send()
    kit.wait_for_chunks(1)
    ros.policy.trigger_deactivate()
    _, result = kit.result(handle)
    assert result.message == "the policy node was deactivated"
    assert kit.chunks[-1].last
    assert not kit.send().accepted
    assert "not active" in kit.call(kit.start).message
    ros.policy.trigger_activate()
    kit.wait_for_inputs()
    assert kit.send().accepted


def test_cleaning_up_and_configuring_again(openpi, ros, policy_server):
    kit = openpi()
    ros.policy.trigger_deactivate()
    ros.policy.trigger_cleanup()
    ros.wait_until(lambda: not policy_server._open, "the end of the connection")
    assert policy_server.goodbyes == 1
    ros.wait_until(lambda: not kit.start.service_is_ready(), "the end of the service")
    assert ros.policy.autostart()
    kit.wait_for_inputs()
    kit.call(kit.start)
    kit.wait_for_chunks(1)


# Other backends -----------------------------------------------------------------------------------


def test_replay_plays_a_file_to_its_end(ros, tmp_path):
    positions = np.tile(np.arange(14) / 100, (31, 1))
    np.savez(tmp_path / "a.npz", positions=positions, joint_names=NAMES, rate_hz=30.0)
    ros.start_policy(
        backend="replay", replay_file=str(tmp_path / "a.npz"), rate_of_inference=5, cameras=[]
    )
    kit = ros.kit
    kit.wait_for_inputs()
    code, result = kit.result(kit.send())
    assert code == GoalStatus.STATUS_SUCCEEDED
    assert (result.outcome, result.message) == (RunPolicy.Result.DONE, "the policy is done")
    assert 1.0 <= result.duration_s < 6.0
    kit.wait_for_chunks(result.chunks)
    assert kit.chunks[-1].last
    assert kit.chunks[-1].horizon > 0
    np.testing.assert_allclose(rows(kit.chunks[-1])[-1], positions[-1])


def test_only_the_expert_listens_to_the_ground_truth(ros, openpi):
    openpi()
    assert ros.peer.count_subscribers("/sim/ground_truth") == 0


def test_the_expert_plans_from_the_ground_truth(ros):
    publisher = ros.peer.create_publisher(GroundTruth, "/sim/ground_truth", 10)
    kit = ros.kit
    kit.positions = np.tile([0.0, math.pi / 3, math.pi / 6, math.pi / 5, 0.0, 0.0, 0.0], 2)
    ros.start_policy(backend="expert")
    kit.wait_for_inputs()
    kit.call(kit.start)
    assert "no ground truth" in kit.wait_for_state(STALLED).reason

    def publish():
        message = GroundTruth(variant="red_cube")
        message.header.stamp = ros.peer.get_clock().now().to_msg()
        message.object_pose.position.x, message.object_pose.position.y = 0.1, -0.15
        message.object_pose.position.z = 0.04
        turn = message.object_pose.orientation
        turn.z, turn.w = math.sin(0.25), math.cos(0.25)
        half = message.object_half_size
        half.x = half.y = half.z = 0.02
        publisher.publish(message)

    ros.peer.create_timer(0.05, publish)
    kit.wait_for_chunks(1)
    pose = [0.1, -0.15, 0.04, math.cos(0.25), 0.0, 0.0, math.sin(0.25)]
    plan = HandoverExpert().plan(kit.positions, pose, [0.02] * 3)
    expected = plan.sample(np.arange(50) * 0.033333333)
    np.testing.assert_allclose(rows(kit.chunks[0]), expected, atol=1e-6)


# The process --------------------------------------------------------------------------------------


def policy_process(ros, *parameters):
    words = [word for parameter in parameters for word in ("-p", parameter)]
    return subprocess.Popen(
        [sys.executable, "-m", "trossen_pi0_policy.node", "--ros-args", *words],
        env={**os.environ, "ROS_DOMAIN_ID": str(ros.domain)},
        stderr=subprocess.PIPE,
        text=True,
    )


def test_an_unknown_backend_ends_the_process_with_the_known_ones(ros):
    process = policy_process(ros, "backend:=pi1")
    _, errors = process.communicate(timeout=30.0)
    assert process.returncode == 2
    assert "backend: 'pi1' is not one of ['openpi', 'pi0', 'expert', 'replay']" in errors


def test_a_bad_replay_file_ends_the_process(ros, tmp_path):
    process = policy_process(ros, "backend:=replay", f"replay_file:={tmp_path}/no.npz")
    _, errors = process.communicate(timeout=30.0)
    assert process.returncode == 1
    assert f"replay_file: there is no file {tmp_path}/no.npz" in errors


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_run_and_process(ros, policy_server, number):
    kit = ros.kit
    process = policy_process(ros, f"policy_port:={policy_server.port}", "start_pose:=''")
    try:
        kit.wait_for_inputs()
        kit.call(kit.start)
        kit.wait_for_chunks(1)
        began = time.monotonic()
        process.send_signal(number)
        _, errors = process.communicate(timeout=10.0)
    finally:
        process.kill()
    assert process.returncode == 0, errors
    assert "Traceback" not in errors
    assert time.monotonic() - began < 5.0
    ros.wait_until(lambda: kit.chunks[-1].last, "the order to hold")


def test_the_node_brings_no_jax_and_no_mujoco():
    code = (
        "import trossen_pi0_policy.node, sys\n"
        "print({'jax', 'mujoco', 'trossen_pi0_sim'} & set(sys.modules), 'rclpy' in sys.modules)"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True, timeout=60
    )
    assert result.stdout.strip() == "set() True"
