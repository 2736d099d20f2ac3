"""What sources do not say of topics, services and actions: one line each, for the page."""

from __future__ import annotations

MODULE_NODES: dict[str, tuple[str, ...]] = {
    "trossen_pi0_control.node": ("arm_controller",),
    "trossen_pi0_control.leader_node": ("leader_arms",),
    "trossen_pi0_policy.node": ("policy",),
    "trossen_pi0_policy.ros.arm_controller_link": ("policy",),
    "trossen_pi0_policy.ros.inputs": ("policy",),
    "trossen_pi0_policy.ros.reports": ("policy",),
    "trossen_pi0_policy.ros.run_server": ("policy",),
    "trossen_pi0_sim.node": ("sim",),
    "trossen_pi0_sim.leaders_node": ("sim_leaders",),
    "trossen_pi0_data.recorder_node": ("recorder",),
    "trossen_pi0_data.replay_node": ("replay",),
    "trossen_pi0_data.replay_safety": ("replay",),
    "trossen_pi0_data.observation_player": ("replay",),
    "trossen_pi0_data.action_player": ("replay",),
    "trossen_pi0_data.episode_client": (),
    "trossen_pi0_ros.diagnostics": ("all",),
}
"""Module with publishers, subscriptions, services or actions -> the nodes that run it."""

ALIASES = {"listen": "subscription", "subscribe": "subscription"}
"""Local names of ``create_subscription``."""

NOT_STATIC = {
    ("trossen_pi0_data.topic_subscriptions", "stream.topic.name"),
    ("trossen_pi0_data.traffic", "s.topic"),
    ("trossen_pi0_data.observation_player", "plan.published[topic]"),
}
"""Calls whose topics are known only when they run, (module, name as it is written): see DYNAMIC."""

VALUES: dict[tuple[str, str], tuple[str, ...]] = {
    ("trossen_pi0_control.node", "topic"): ("command", "planned_command"),
    ("trossen_pi0_policy.ros.inputs", "topic"): ("/<camera>/color/image_raw",),
    ("trossen_pi0_data.replay_node", "name"): ("start", "stop", "pause", "resume", "step"),
}
"""Module and expression that is no constant -> what it can be."""

QUALITIES = {
    ("trossen_pi0_sim.node", "qos"): "as `image_reliability` says, depth 2",
    ("trossen_pi0_policy.ros.inputs", "pictures"): "as `image_reliability` says, depth 2",
}
"""The same for quality of service."""

DYNAMIC = """\
`<camera>` is `cam_high`, `cam_low`, `cam_left_wrist` and `cam_right_wrist`; on real cameras realsense2_camera publishes them. The recorder hears all topics that
[recording.md](recording.md#what-is-recorded) lists, with the quality that their publishers offer. The replay node publishes what was recorded, on the topics it was recorded from."""

TOPICS = {
    "/<camera>/color/camera_info": "calibration of the pictures",
    "/<camera>/color/image_raw": "pictures, rgb8",
    "/arm_controller/command": "what was sent to the arms, `command_rate` times a second: the `action` of a data set",
    "/arm_controller/external_effort": "what the arms press against, in `effort`; only while somebody listens",
    "/arm_controller/planned_command": "with `mode:=test` instead of `/arm_controller/command`: what would have been sent",
    "/arm_controller/status": "state, reason, counters, `status_rate` times a second and on change",
    "/clock": "time of the episode that is replayed",
    "/diagnostics": "each node's health, once a second",
    "/episodes/status": "what the recorder does",
    "/joint_states": "measured positions, speeds and efforts of the followers, URDF names, `control_rate` times a second",
    "/leader_arms/joint_states": "the leaders, `read_rate` times a second",
    "/policy/action_chunk": "rows of joint targets and when they are due",
    "/policy/status": "what the policy node does and why",
    "/replay/status": "what the replay node does",
    "/sim/ground_truth": "true pose of the object; for the scripted expert and evaluation",
    "/sim/status": "stage of the task, success, real-time factor",
    "/teleop/status": "what the leader arms do and why",
}

SERVICES = {
    "/arm_controller/clear_fault": "leaves `FAULT` and `ESTOP`; the answer says what was done or is still wrong",
    "/arm_controller/estop": "stops at once; latched",
    "/episodes/mark": "changes outcome and notes of the episode that ended last, or deletes it",
    "/episodes/start": "begins an episode",
    "/episodes/stop": "ends and keeps the episode, or discards it",
    "/policy/start": "begins a run with the node's prompt and time limit",
    "/policy/stop": "ends the run; the arms hold",
    "/replay/pause": "observations: stands still",
    "/replay/resume": "observations: goes on",
    "/replay/start": "begins the replay, from the beginning",
    "/replay/step": "observations: plays `step_s` while paused",
    "/replay/stop": "ends the replay",
    "/sim/reset": "puts the object at the pose of a seed",
    "/teleop/clear_fault": "connects a failed leader anew",
    "/teleop/start": "couples the followers to the leaders",
    "/teleop/stop": "ends the coupling; the followers hold",
}

ACTIONS = {
    "/arm_controller/move_to": "moves the arms to a pose",
    "/policy/run": "runs the policy",
}
