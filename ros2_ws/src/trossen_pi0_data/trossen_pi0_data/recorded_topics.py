"""Which topics an episode holds. ROS-free."""

from __future__ import annotations

from dataclasses import dataclass

from trossen_pi0_core.parameters import RecorderParameters

_JOINTS = "sensor_msgs/msg/JointState"

_EXPECTED = {
    "/joint_states": _JOINTS,
    "/arm_controller/command": _JOINTS,
}
_OTHERS = {
    "/arm_controller/planned_command": _JOINTS,
    "/arm_controller/status": "trossen_pi0_msgs/msg/ControllerStatus",
    "/policy/action_chunk": "trossen_pi0_msgs/msg/ActionChunk",
    "/policy/status": "trossen_pi0_msgs/msg/PolicyStatus",
    "/leader_arms/joint_states": _JOINTS,
    "/teleop/status": "trossen_pi0_msgs/msg/TeleopStatus",
    "/sim/status": "trossen_pi0_msgs/msg/SimStatus",
    "/sim/ground_truth": "trossen_pi0_msgs/msg/GroundTruth",
}


@dataclass(frozen=True)
class RecordedTopic:
    """A topic that is recorded.

    Attributes:
        name: of the topic.
        type: such as ``sensor_msgs/msg/Image``.
        camera: whose pictures these are; empty: no pictures.
        expected: a data set cannot do without it.
    """

    name: str
    type: str
    camera: str = ""
    expected: bool = False


def recorded_topics(parameters: RecorderParameters) -> tuple[RecordedTopic, ...]:
    """The topics, each once: cameras, joints, commands, the policy's, the simulation's, further."""
    topics: dict[str, RecordedTopic] = {}
    for camera, topic in parameters.image_topics.items():
        info = info_topic(topic)
        topics[topic] = RecordedTopic(topic, "sensor_msgs/msg/Image", camera, expected=True)
        topics[info] = RecordedTopic(info, "sensor_msgs/msg/CameraInfo", expected=True)
    for names, expected in ((_EXPECTED, True), (_OTHERS, False), (parameters.extra_types, True)):
        for name, kind in names.items():
            topics.setdefault(name, RecordedTopic(name, kind, expected=expected))
    return tuple(topics.values())


def info_topic(image_topic: str) -> str:
    """The camera_info that belongs to a picture's topic."""
    return image_topic.rpartition("/")[0] + "/camera_info"
