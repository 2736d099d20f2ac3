"""What the sources do not say of topics, services and actions."""

from __future__ import annotations

from pathlib import Path

import yaml

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
    "trossen_pi0_description.node": ("robot_description",),
    "trossen_pi0_monitor.monitor_node": ("monitor",),
    "trossen_pi0_data.episode_client": (),
    "trossen_pi0_ros.diagnostics": ("all",),
}
"""Module with publishers, subscriptions, services or actions -> the nodes that run it."""

UNMANAGED = ("monitor", "robot_description", "sim", "sim_leaders")
"""Nodes that are no lifecycle nodes."""

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
`<camera>` is `cam_high`, `cam_low`, `cam_left_wrist` and `cam_right_wrist`; on real cameras
realsense2_camera publishes them. The recorder hears all topics that
[recording.md](recording.md#what-is-recorded) lists, with the quality that their publishers offer.
The replay node publishes what was recorded, on the topics it was recorded from."""
"""The page's words on topics that are not found in the sources."""

_WORDS = yaml.safe_load(Path(__file__).with_suffix(".yaml").read_text(encoding="utf-8"))

TOPICS: dict[str, str] = _WORDS["topics"]
SERVICES: dict[str, str] = _WORDS["services"]
ACTIONS: dict[str, str] = _WORDS["actions"]
"""Name -> what it is for."""
