"""Parameters of the episode recorder."""

from __future__ import annotations

from trossen_pi0_core.contract import CAMERAS
from trossen_pi0_core.errors import ParameterError
from trossen_pi0_core.joints import JointMap
from trossen_pi0_core.parameters.bounds import check_bounds, error, warning
from trossen_pi0_core.parameters.joint_maps import check_joint_map
from trossen_pi0_core.parameters.spec import parameter, parameters

IMAGE_COMPRESSIONS = ("none", "jpeg", "h264")
"""What recorded pictures can be made into."""


@parameters
class RecorderParameters:
    """What the recorder can be told. Lists per camera are in the order of ``cameras``."""

    autostart: bool = parameter(True, "Configure and activate the node at start.")
    episodes_dir: str = parameter("episodes", "Folder in which each episode gets a folder.")
    record_runs: bool = parameter(
        False, "Records every run of the policy as an episode of its own.", live=True
    )
    arms: tuple[str, ...] = parameter(("left", "right"), "Names of the arms.")
    urdf_prefixes: tuple[str, ...] = parameter(
        ("follower_left_", "follower_right_"), "URDF joint name prefix of each arm."
    )
    cameras: tuple[str, ...] = parameter(CAMERAS, "Names of the cameras.")
    camera_topics: tuple[str, ...] = parameter(
        (), "Image topic of each camera; empty: /<camera>/color/image_raw."
    )
    extra_topics: tuple[str, ...] = parameter(
        (), "Further topics, each its name and type: '/tf tf2_msgs/msg/TFMessage'."
    )
    image_compression: str = parameter(
        "none",
        "'none': pictures as they come; 'jpeg': sensor_msgs/CompressedImage; 'h264': "
        "foxglove_msgs/CompressedVideo, the smallest.",
        choices=IMAGE_COMPRESSIONS,
    )
    jpeg_quality: int = parameter(95, "jpeg: quality of the pictures [%].", low=1, high=100)
    h264_crf: int = parameter(
        20, "h264: constant rate factor, 0 is without loss, 51 the worst.", low=0, high=51
    )
    chunk_compression: str = parameter(
        "none", "Compression of the file's chunks.", choices=("none", "zstd")
    )
    queue_mb: int = parameter(
        512,
        "Most that waits to be written while the disk is slow; what comes then is dropped and "
        "counted [MB].",
        low=16,
        high=65536,
    )
    picture_depth: int = parameter(
        60, "Pictures of each camera that wait in DDS while the recorder is busy.", low=2, high=600
    )
    min_disk_mb: int = parameter(
        2000, "An episode ends, and none begins, with less free on the disk [MB].", low=0
    )
    status_rate: float = parameter(2.0, "Rate of the status topic [Hz].", low=0.5, high=20.0)
    warn_disk_mb: int = parameter(
        10000,
        "Diagnostics: free on the disk, largest value of a warning; an error is min_disk_mb [MB].",
        low=0,
        live=True,
    )
    warn_waiting_mb: int = warning(
        256, "most that has waited to be written in an episode [MB]", low=1, high=65536
    )
    error_waiting_mb: int = error(
        480, "most that has waited to be written in an episode [MB]", low=1, high=65536
    )
    warn_dropped: int = warning(1, "messages dropped [1/min]", low=1, high=1000000)
    error_dropped: int = error(300, "messages dropped [1/min]", low=1, high=1000000)

    @property
    def joint_map(self) -> JointMap:
        """Names of the joints."""
        return JointMap(self.arms, self.urdf_prefixes)

    @property
    def image_topics(self) -> dict[str, str]:
        """Camera name -> image topic."""
        topics = self.camera_topics or tuple(f"/{c}/color/image_raw" for c in self.cameras)
        return dict(zip(self.cameras, topics, strict=True))

    @property
    def extra_types(self) -> dict[str, str]:
        """Further topic -> its type."""
        words = (text.split() for text in self.extra_topics)
        return {topic: kind for topic, kind in words}  # noqa: C416 - pairs, as check() ensures

    def check(self) -> None:
        """Checks what the ranges cannot say."""
        if not self.episodes_dir.strip():
            raise ParameterError("episodes_dir: need a folder such as 'episodes', got none")
        check_joint_map(self)
        unknown = [camera for camera in self.cameras if camera not in CAMERAS]
        if unknown or len(set(self.cameras)) != len(self.cameras):
            raise ParameterError(
                f"cameras: need different names out of {list(CAMERAS)}, got {list(self.cameras)}"
            )
        if self.camera_topics and len(self.camera_topics) != len(self.cameras):
            raise ParameterError(
                f"camera_topics: need one for each of {list(self.cameras)}, "
                f"got {list(self.camera_topics)}"
            )
        check_bounds(self)
        for text in self.extra_topics:
            words = text.split()
            if len(words) != 2 or not words[0].startswith("/") or words[1].count("/msg/") != 1:
                raise ParameterError(
                    "extra_topics: each is a topic and its type, such as "
                    f"'/tf tf2_msgs/msg/TFMessage', got {text!r}"
                )
