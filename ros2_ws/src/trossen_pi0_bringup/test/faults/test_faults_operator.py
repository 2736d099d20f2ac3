"""The operator stops, moves and changes parameters at the wrong moment, or to the wrong values."""

import math
import time

import pytest
from rcl_interfaces.msg import Parameter, ParameterType, ParameterValue

from fault_harness.campaign import BRAKING_S
from trossen_pi0_core.execution import State
from trossen_pi0_msgs.action import MoveTo
from trossen_pi0_policy.state import PolicyState


def test_estop_in_motion(campaign, stack):
    with campaign.fault(stack, "e-stop in motion", "ESTOP") as fault:
        fault.inject(lambda: stack.kit.call("/arm_controller/estop"))
        fault.holds(0.0, State.ESTOP, reason="e-stop")
        fault.policy_says(PolicyState.ERROR, "ESTOP")
        rejected = stack.kit.status.chunks_rejected
        started, message = stack.kit.call("/policy/start")
        assert started, message
        fault.policy_says(PolicyState.ERROR, "ESTOP")  # latched: the run ends at once
        stack.kit.chunk_publisher.publish(stack.kit.chunks[-1])
        fault.says(State.ESTOP)
        assert stack.kit.status.chunks_accepted >= 1
        assert stack.kit.status.chunks_rejected >= rejected
        result = stack.kit.move(MoveTo.Goal(pose="staged"))
        assert not result.success
        assert "ESTOP" in result.message
        fault.stays_at_rest()
        fault.new_run_works()


def test_estop_in_a_move(campaign, stack):
    with campaign.fault(stack, "e-stop in a MoveTo", "ESTOP", running=False) as fault:
        goal = MoveTo.Goal(
            joint_names=["follower_left_joint_0"],
            positions=[stack.kit.measured("follower_left_joint_0") + 0.4],
        )
        accepted = stack.kit.answer(stack.kit.mover.send_goal_async(goal))
        stack.wait_for_state(State.MOVING)
        fault.inject(lambda: stack.kit.call("/arm_controller/estop"))
        fault.holds(BRAKING_S, State.ESTOP, reason="e-stop")
        result = stack.kit.answer(accepted.get_result_async()).result
        assert not result.success
        stack.clear_fault()


def test_move_to_during_a_run(campaign, stack):
    with campaign.fault(stack, "MoveTo during a run", "EXECUTING") as fault:
        results = []
        fault.inject(lambda: results.append(stack.kit.move(MoveTo.Goal(pose="home"))))
        assert not results[0].success
        assert "is under way; stop it first" in results[0].message
        fault.goes_on(0.5)


ABUSE = {
    "blend_s -1": ("arm_controller", "blend_s", -1.0, "blend_s"),
    "blend_s NaN": ("arm_controller", "blend_s", math.nan, "blend_s"),
    "blend_s inf": ("arm_controller", "blend_s", math.inf, "blend_s"),
    "max_chunk_age_s 1e9": ("arm_controller", "max_chunk_age_s", 1e9, "max_chunk_age_s"),
    "ensembling m 50": ("arm_controller", "temporal_ensemble_coefficient", 50.0, "lies outside"),
    "blend_s as text": ("arm_controller", "blend_s", "fast", "blend_s"),
    "velocity_limit in motion": ("arm_controller", "velocity_limit", [99.0] * 7, "velocity_limit"),
    "rate_of_inference 0": ("policy", "rate_of_inference", 0, "rate_of_inference"),
    "rate_of_inference 1.5": ("policy", "rate_of_inference", 1.5, "rate_of_inference"),
    "control_rate 0": ("policy", "control_rate", 0.0, "control_rate"),
    "control_rate NaN": ("policy", "control_rate", math.nan, "control_rate"),
    "max_observation_age_s -1": ("policy", "max_observation_age_s", -1.0, "max_observation_age_s"),
    "prompt empty": ("policy", "prompt", "", "need an instruction"),
    "prompt as number": ("policy", "prompt", 7, "prompt"),
}


@pytest.mark.parametrize("name", ABUSE)
def test_refused_parameters(campaign, stack, name):
    node, parameter, value, word = ABUSE[name]
    with campaign.fault(stack, f"parameter: {name}", "EXECUTING") as fault:
        answers = []
        fault.inject(lambda: answers.append(stack.kit.put(node, parameter, value)))
        taken, reason = answers[0]
        assert not taken
        assert word in reason, reason
        fault.goes_on(0.3)


def test_unknown_parameter(campaign, stack):
    with campaign.fault(stack, "parameter: unknown", "EXECUTING") as fault:
        value = ParameterValue(type=ParameterType.PARAMETER_DOUBLE, double_value=1.0)
        answers = []
        message = Parameter(name="blend_seconds", value=value)
        for node in ("arm_controller", "policy"):
            fault.inject(lambda node=node: answers.append(stack.kit.put_message(node, message)))
        assert [taken for taken, _ in answers] == [False, False]
        fault.goes_on(0.3)


def test_rapid_changes(campaign, stack):
    """Fifty changes a second of what shapes the motion, for two seconds."""
    nan = math.nan
    with campaign.fault(stack, "parameters: 50 changes/s for 2 s", "EXECUTING") as fault:
        begun_s = time.monotonic()
        fault.inject(lambda: None)
        pending = []
        for i in range(100):
            name = ("blend_s", "temporal_ensemble_coefficient")[i % 2]
            value = (i % 5 * 0.1, (nan, 0.0, 0.1, -0.1, 1.0)[i % 5])[i % 2]
            pending.append(stack.kit.put_soon("arm_controller", name, value))
            rate = 4 + i % 8
            pending.append(stack.kit.put_soon("policy", "rate_of_inference", rate))
            time.sleep(max(0.0, begun_s + i / 50.0 - time.monotonic()))
        results = [stack.kit.answer(future).results[0] for future in pending]
        assert all(result.successful for result in results), results
        fault.goes_on(0.5)
        assert stack.kit.put("arm_controller", "blend_s", 0.1)[0]
        assert stack.kit.put("arm_controller", "temporal_ensemble_coefficient", nan)[0]
        assert stack.kit.put("policy", "rate_of_inference", 8)[0]
