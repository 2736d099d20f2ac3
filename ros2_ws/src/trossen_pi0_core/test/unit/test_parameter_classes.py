"""The parameters of each node: valid defaults, and every refusal with its reason."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from trossen_pi0_core.errors import ParameterError
from trossen_pi0_core.parameters import (
    ArmControllerParameters,
    DescriptionParameters,
    LeaderArmsParameters,
    MonitorParameters,
    PolicyParameters,
    ReplayParameters,
    SimLeadersParameters,
    SimParameters,
    from_values,
    replaced,
    specs,
)

CLASSES = (
    ArmControllerParameters,
    DescriptionParameters,
    LeaderArmsParameters,
    MonitorParameters,
    PolicyParameters,
    ReplayParameters,
    SimLeadersParameters,
    SimParameters,
)


@pytest.mark.parametrize("cls", CLASSES)
def test_every_default_is_valid_and_described(cls: type) -> None:
    params = cls()
    for spec in specs(cls):
        value = getattr(params, spec.name)
        checked = spec.check(spec.default)
        assert value == checked or (math.isnan(value) and spec.allow_nan)
        assert spec.description.endswith("."), spec.name
        if spec.low is not None and spec.high is not None:
            assert spec.low < spec.high, spec.name
        unit_free = (
            "rate",
            "rate_of_inference",
            "velocity_fraction",
            "temporal_ensemble_coefficient",
        )
        if spec.name.endswith("_s"):
            assert "[s]" in spec.description, spec.name
        elif "rate" in spec.name and spec.name not in unit_free:
            assert "[Hz]" in spec.description, spec.name


@pytest.mark.parametrize("cls", CLASSES)
def test_values_outside_each_range_and_choice_are_refused(cls: type) -> None:
    for spec in specs(cls):
        wrong: list[Any] = []
        if spec.low is not None:
            wrong.append(spec.type(spec.low - 1))
        if spec.high is not None:
            wrong.append(spec.type(spec.high + 1))
        if spec.choices:
            wrong.append("no such choice")
        if spec.type is float:
            wrong += [math.inf] if spec.allow_nan else [math.nan, math.inf]
        for value in wrong:
            with pytest.raises(ParameterError, match=spec.name):
                from_values(cls, {spec.name: (value,) if spec.is_list else value})


@pytest.mark.parametrize("cls", CLASSES)
def test_values_of_another_type_are_refused(cls: type) -> None:
    for spec in specs(cls):
        value = 1 if spec.type is str else "text"
        with pytest.raises(ParameterError, match=f"^{spec.name}: need {spec.type.__name__}"):
            from_values(cls, {spec.name: (value,) if spec.is_list else value})


# Arm controller ----------------------------------------------------------------------------------

STAGED = (0.0, math.pi / 3, math.pi / 6, math.pi / 5, 0.0, 0.0, 0.0)


def test_the_kit_s_followers_are_the_default() -> None:
    params = ArmControllerParameters()
    assert params.arms == ("left", "right")
    assert params.arm_addresses == ("192.168.1.5", "192.168.1.4")
    assert params.staged_pose == STAGED
    assert params.joint_map.urdf_names[7] == "follower_right_joint_0"
    assert params.for_each_arm("arm_models") == ("wxai_v0", "wxai_v0")
    assert params.for_each_arm("arm_addresses") == ("192.168.1.5", "192.168.1.4")


def test_limits_of_one_arm_apply_to_all() -> None:
    limits = ArmControllerParameters().limits
    assert len(limits.names) == 14
    np.testing.assert_array_equal(limits.upper[:7], limits.upper[7:])
    assert limits.upper[6] == 0.04
    assert limits.velocity[0] == 3.375


def test_one_arm_alone_is_possible() -> None:
    params = from_values(
        ArmControllerParameters,
        {"arms": ["only"], "urdf_prefixes": [""], "arm_addresses": ["127.0.0.2"]},
    )
    assert params.limits.names[6] == "left_carriage_joint"


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"arms": []}, "arms and urdf_prefixes: a joint map needs at least one arm"),
        ({"arms": ["a", "a"]}, "arms and urdf_prefixes: each arm must be named once"),
        ({"urdf_prefixes": ["x_"]}, "arms and urdf_prefixes: need one URDF prefix for each"),
        ({"arm_addresses": ["127.0.0.2"]}, "arm_addresses: each arm needs its own, got"),
        (
            {"arm_addresses": ["127.0.0.2", "127.0.0.2"]},
            r"arm_addresses: each arm needs its own, got \['127\.0\.0\.2', '127\.0\.0\.2'\]",
        ),
        (
            {"arm_addresses": ["127.0.0.2", "robot"]},
            "arm_addresses: 'robot' is no IP address, such as",
        ),
        (
            {"arm_addresses": ["127.0.0.2", "127.0.0.3", "127.0.0.4"]},
            r"arm_addresses: need one entry for each of the arms \['left', 'right'\], got",
        ),
        ({"arm_models": []}, "arm_models: need one entry for each of the arms"),
        ({"end_effectors": ["a"] * 3}, "end_effectors: need one entry for each of the arms"),
        ({"staged_pose": [0.0] * 6}, r"staged_pose needs 7 values .* or 14, got 6"),
        (
            {"staged_pose": [0.0] * 6 + [0.05]},
            r"staged_pose: outside the position limits: \['follower_left_left_carriage_joint', 'fo",
        ),
        (
            {"home_pose": [0.0] * 8 + [-0.1] + [0.0] * 5},
            r"home_pose: outside the position limits: \['follower_right_joint_1'\]",
        ),
        ({"position_lower": [0.0] * 5}, "position_lower needs 7 values"),
        ({"position_upper": [-4.0] * 7}, "lower limit must lie below the upper one"),
        ({"velocity_limit": [0.0] * 7}, "velocity limit must be greater than 0"),
        ({"acceleration_limit": [-1.0] * 7}, "acceleration limit must be greater than 0"),
        ({"effort_limit": [20.0] * 6}, "effort_limit needs 7 values .* or 14, got 6"),
        ({"effort_limit": [20.0] * 6 + [0.0]}, r"effort_limit: must be greater than 0, got \[20"),
        ({"effort_limit": [math.inf] * 7}, "effort_limit: need a finite number, got inf"),
        ({"shutdown_pose": "bed"}, r"shutdown_pose: 'bed' is not one of \['', 'staged', 'home'\]"),
        ({"velocity_limit": [math.nan] * 7}, "velocity_limit: need a finite number, got nan"),
    ],
)
def test_an_arm_controller_that_cannot_be_is_refused(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ParameterError, match=message):
        from_values(ArmControllerParameters, values)


def test_execution_can_be_changed_live_and_safety_cannot() -> None:
    params = ArmControllerParameters()
    live = {spec.name for spec in specs(ArmControllerParameters) if not spec.read_only}
    assert live >= {"blend_s", "temporal_ensemble_coefficient"}
    assert replaced(params, {"blend_s": 0, "temporal_ensemble_coefficient": 0.1}).blend_s == 0.0
    for name in (
        "position_lower",
        "velocity_limit",
        "velocity_fraction",
        "mode",
        "arms",
        "effort_limit",
        "effort_time_s",
        "clock_jump_s",
        "round_trip_limit_s",
        "round_trip_strikes",
        "driver_stale_s",
        "control_rate",
    ):
        with pytest.raises(ParameterError, match=f"{name} is fixed"):
            replaced(params, {name: getattr(params, name)})


# Policy ------------------------------------------------------------------------------------------


def test_image_topics_follow_the_camera_names_or_the_list() -> None:
    assert PolicyParameters().image_topics == {
        "cam_high": "/cam_high/color/image_raw",
        "cam_low": "/cam_low/color/image_raw",
        "cam_left_wrist": "/cam_left_wrist/color/image_raw",
        "cam_right_wrist": "/cam_right_wrist/color/image_raw",
    }
    params = from_values(
        PolicyParameters, {"cameras": ["cam_high"], "camera_topics": ["/top/color/image_rect_raw"]}
    )
    assert params.image_topics == {"cam_high": "/top/color/image_rect_raw"}


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"backend": "magic"}, r"backend: 'magic' is not one of \['openpi', "),
        (
            {"cameras": ["cam_top"]},
            r"cameras: need different names out of \['cam_high', .*top",
        ),
        ({"cameras": ["cam_high", "cam_high"]}, "cameras: need different names out of"),
        ({"camera_topics": ["/a"]}, r"camera_topics: need one for each of .*, got \['/a'\]"),
        ({"arms": []}, "arms and urdf_prefixes: a joint map needs at least one arm"),
        ({"backend": "replay"}, "replay_file: the backend 'replay' needs a file"),
        ({"backend": "pi0"}, "checkpoint: the backend 'pi0' needs a checkpoint: a folder with"),
        ({"image_size": 31}, "image_size: need 0 or at least 32 pixels, got 31"),
        (
            {"sync_tolerance_s": 0.5},
            r"sync_tolerance_s \(0\.5\) must not exceed max_observation_age_s \(0\.3\)",
        ),
    ],
)
def test_a_policy_that_cannot_be_is_refused(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ParameterError, match=message):
        from_values(PolicyParameters, values)


def test_a_live_change_is_checked_against_the_other_parameters() -> None:
    params = PolicyParameters()
    assert replaced(params, {"rate_of_inference": 10}).rate_of_inference == 10
    with pytest.raises(ParameterError, match="must not exceed max_observation_age_s"):
        replaced(params, {"max_observation_age_s": 0.02})


# Sim ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"variant": "green_cube"}, r"variant: 'green_cube' is not one of \['red_cube', "),
        ({"seed": -1}, r"seed: -1 lies outside \[0, 4294967295\]"),
        ({"arm_addresses": ["127.0.0.2"]}, "arm_addresses: need two different addresses, got"),
        ({"arm_addresses": ["127.0.0.2"] * 2}, "arm_addresses: need two different addresses, got"),
        ({"arm_addresses": ["127.0.0.2", "arm"]}, "arm_addresses: 'arm' is no IP address"),
    ],
)
def test_a_sim_that_cannot_be_is_refused(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ParameterError, match=message):
        from_values(SimParameters, values)


# Leader arms -------------------------------------------------------------------------------------


def test_the_kit_s_leaders_are_the_default() -> None:
    params = LeaderArmsParameters()
    assert params.arm_addresses == ("192.168.1.3", "192.168.1.2")
    assert params.for_each_arm("end_effectors") == ("wxai_v0_leader", "wxai_v0_leader")
    assert params.joint_map.urdf_names[7] == "leader_right_joint_0"
    assert params.follower_map.urdf_names[7] == "follower_right_joint_0"
    assert params.force_feedback_gain == 0.0
    assert params.tolerances.tolist() == [0.1] * 6 + [0.01] + [0.1] * 6 + [0.01]
    assert params.jumps[6] == pytest.approx(0.01)
    assert params.force_limits.shape == (14,)


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ({"arm_addresses": ("192.168.1.3",)}, "arm_addresses: each arm needs its own"),
        ({"arm_models": ("wxai_v0",) * 3}, "arm_models: need one entry for each"),
        ({"arm_addresses": ("192.168.1.3", "192.168.1.3")}, "each arm needs its own"),
        ({"arm_addresses": ("192.168.1.3", "left")}, "no IP address"),
        ({"follower_prefixes": ("a_", "a_")}, "arms and follower_prefixes"),
        ({"urdf_prefixes": ("a_",)}, "arms and urdf_prefixes"),
        ({"chunk_rate": 150.0}, "chunk_rate: 150 Hz is more often"),
        ({"force_feedback_limit": (1.0, 2.0)}, "force_feedback_limit needs 7 values"),
    ],
)
def test_leader_parameters_that_do_not_go_together_are_refused(
    values: dict[str, Any], told: str
) -> None:
    with pytest.raises(ParameterError, match=told):
        from_values(LeaderArmsParameters, values)
