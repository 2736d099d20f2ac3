"""Names and places in LeRobot data sets of both formats, written once.

v2.1 has one table and one video a camera for each episode; v3.0 puts many episodes into one file
(https://github.com/huggingface/lerobot).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

V21, V30 = "v2.1", "v3.0"
FORMATS = (V30, V21)

ROBOT_TYPE = "bi_widowxai_follower"
"""Two WidowX AI followers, as the vendor's data sets call them."""

STATE, ACTION = "observation.state", "action"
IMAGES = "observation.images."
TASK = "task"

FILES_PER_CHUNK = 1000
DATA_FILE_MB = 100
VIDEO_FILE_MB = 200
"""Largest size of a file with several episodes, v3.0 [MiB]; one episode may be larger."""

INFO = "meta/info.json"
STATS = "meta/stats.json"
TASKS_V30 = "meta/tasks.parquet"
EPISODES_V30 = "meta/episodes/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet"
DATA_V30 = "data/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet"
VIDEO_V30 = "videos/{video_key}/chunk-{chunk_index:03d}/file-{file_index:03d}.mp4"
TASKS_V21 = "meta/tasks.jsonl"
EPISODES_V21 = "meta/episodes.jsonl"
EPISODE_STATS_V21 = "meta/episodes_stats.jsonl"
DATA_V21 = "data/chunk-{episode_chunk:03d}/episode_{episode_index:06d}.parquet"
VIDEO_V21 = "videos/chunk-{episode_chunk:03d}/{video_key}/episode_{episode_index:06d}.mp4"

CUT = "cut"
"""Outcome of an episode that ends before its task does."""

MANIFEST = "meta/conversion.json"
"""Where a data set came from: written by this suite, ignored by others."""

COUNTERS = ("timestamp", "frame_index", "episode_index", "index", "task_index")
"""Columns that each data set has: seconds since the episode began (float32), then int64."""


def image_key(camera: str) -> str:
    """Name of a camera's pictures among the features."""
    return IMAGES + camera


def features(
    joint_names: Sequence[str], cameras: Mapping[str, Mapping[str, Any]]
) -> dict[str, dict[str, Any]]:
    """What a data set holds, as ``info.json`` lists it.

    Args:
        joint_names: data-set names of the values of action and state, in order.
        cameras: for each camera what ``video.describe`` says of its video.
    """
    names = list(joint_names)
    result: dict[str, dict[str, Any]] = {
        key: {"dtype": "float32", "shape": [len(names)], "names": names} for key in (ACTION, STATE)
    }
    for camera, info in cameras.items():
        result[image_key(camera)] = {
            "dtype": "video",
            "shape": [info["video.height"], info["video.width"], info["video.channels"]],
            "names": ["height", "width", "channels"],
            "info": dict(info),
        }
    for counter in COUNTERS:
        dtype = "float32" if counter == "timestamp" else "int64"
        result[counter] = {"dtype": dtype, "shape": [1], "names": None}
    return result


def info(
    version: str,
    fps: int,
    feature_table: Mapping[str, Any],
    *,
    episodes: int,
    frames: int,
    tasks: int,
    splits: Mapping[str, str],
) -> dict[str, Any]:
    """Content of ``meta/info.json``."""
    content: dict[str, Any] = {
        "codebase_version": version,
        "robot_type": ROBOT_TYPE,
        "total_episodes": episodes,
        "total_frames": frames,
        "total_tasks": tasks,
        "chunks_size": FILES_PER_CHUNK,
        "fps": fps,
        "splits": dict(splits),
        "data_path": DATA_V21 if version == V21 else DATA_V30,
        "video_path": VIDEO_V21 if version == V21 else VIDEO_V30,
        "features": dict(feature_table),
    }
    videos = sum(1 for each in feature_table.values() if each["dtype"] == "video")
    if version == V21:
        content["total_videos"] = videos * episodes
        content["total_chunks"] = -(-episodes // FILES_PER_CHUNK)
    else:
        content["data_files_size_in_mb"] = DATA_FILE_MB
        content["video_files_size_in_mb"] = VIDEO_FILE_MB
    if not videos:
        content["video_path"] = None
    return content
