"""What ``episode.json`` says of a recorded episode. ROS-free.

An episode is a folder ``<episodes_dir>/<name>/``: a rosbag2 bag (``metadata.yaml`` and
``<name>_0.mcap``) and this file beside it.
"""

from __future__ import annotations

import dataclasses
import json
import types
import typing
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from trossen_pi0_core.errors import EpisodeError
from trossen_pi0_data.files import write_atomically

FORMAT = 1
"""Of the file."""

FILE = "episode.json"
"""Name of the file in the episode's folder."""

RECORDING, FINISHED, INTERRUPTED = "recording", "finished", "interrupted"
STATES = (RECORDING, FINISHED, INTERRUPTED)
"""Being written (or its recorder was killed); ended in order; ended by a kill and repaired."""

SUCCESS, FAILURE, UNKNOWN = "success", "failure", "unknown"
OUTCOMES = (SUCCESS, FAILURE, UNKNOWN)
"""How the task went."""


@dataclass(frozen=True)
class CameraInfo:
    """One camera of an episode.

    Attributes:
        topic: of its pictures, as they were recorded.
        info_topic: of its camera_info.
        width: of its pictures [pixels]; 0 when none came.
        height: likewise.
        encoding: of its pictures before any compression, such as rgb8; None when none came.
        compression: None (sensor_msgs/Image), ``jpeg`` (sensor_msgs/CompressedImage) or
            ``h264`` (foxglove_msgs/CompressedVideo).
    """

    topic: str
    info_topic: str
    width: int = 0
    height: int = 0
    encoding: str | None = None
    compression: str | None = None


@dataclass(frozen=True)
class TopicInfo:
    """One topic of an episode.

    Attributes:
        type: such as ``sensor_msgs/msg/Image``.
        messages: how many were written.
        dropped: how many came and could not be written.
    """

    type: str
    messages: int = 0
    dropped: int = 0


@dataclass(frozen=True)
class PolicyInfo:
    """The run of the policy node that the episode shows.

    Attributes:
        run_id: of the policy node.
        outcome: what the policy node said of the run, such as succeeded; empty when it is unknown.
        message: why it ended.
    """

    run_id: str
    outcome: str = ""
    message: str = ""


@dataclass(frozen=True)
class SoftwareInfo:
    """What recorded the episode.

    Attributes:
        trossen_pi0: version of this suite.
        git: commit of the sources; None when it is not known.
        ros_distro: such as jazzy.
        python: such as 3.12.3.
        trossen_arm: version of the arm driver; None when it is not installed.
    """

    trossen_pi0: str
    git: str | None
    ros_distro: str
    python: str
    trossen_arm: str | None


@dataclass(frozen=True)
class EpisodeInfo:
    """``episode.json``.

    Attributes:
        name: of the episode and of its folder.
        began_ns: when it began, ROS time [ns].
        began: the same by the computer's clock, ISO 8601, UTC.
        joint_names: URDF names of the controller's joint vector.
        dataset_joint_names: names of the same joints in data sets, in the same order.
        cameras: by camera name.
        topics: by topic name.
        software: what recorded it.
        state: one of ``STATES``.
        outcome: one of ``OUTCOMES``.
        prompt: instruction.
        notes: the operator's.
        seed: of the simulation; None: none.
        duration_s: first to last message [s].
        policy: the run that was recorded; None when it was begun by hand.
        fault: why it ended otherwise than by the operator or the run; empty: it did not.
        format: of the file.
    """

    name: str
    began_ns: int
    began: str
    joint_names: tuple[str, ...]
    dataset_joint_names: tuple[str, ...]
    cameras: dict[str, CameraInfo]
    topics: dict[str, TopicInfo]
    software: SoftwareInfo
    state: str = RECORDING
    outcome: str = UNKNOWN
    prompt: str = ""
    notes: str = ""
    seed: int | None = None
    duration_s: float = 0.0
    policy: PolicyInfo | None = None
    fault: str = ""
    format: int = field(default=FORMAT)

    def __post_init__(self) -> None:
        if self.format != FORMAT:
            raise EpisodeError(f"format {self.format} of {FILE} is not known, {FORMAT} is")
        for label, value, allowed in (
            ("state", self.state, STATES),
            ("outcome", self.outcome, OUTCOMES),
        ):
            if value not in allowed:
                raise EpisodeError(f"{label} must be one of {list(allowed)}, got {value!r}")
        if len(self.joint_names) != len(self.dataset_joint_names):
            raise EpisodeError(
                f"{len(self.joint_names)} joint_names but "
                f"{len(self.dataset_joint_names)} dataset_joint_names"
            )

    @property
    def messages(self) -> int:
        """Written over all topics."""
        return sum(topic.messages for topic in self.topics.values())

    @property
    def dropped(self) -> int:
        """Lost over all topics."""
        return sum(topic.dropped for topic in self.topics.values())

    @classmethod
    def read(cls, folder: Path | str) -> EpisodeInfo:
        """Reads an episode's file.

        Raises:
            EpisodeError: it is missing, cannot be read, or says what is not allowed.
        """
        path = Path(folder) / FILE
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError as error:
            raise EpisodeError(f"{folder} is no episode: it has no {FILE}") from error
        except (OSError, ValueError) as error:
            raise EpisodeError(f"cannot read {path}: {error}") from error
        try:
            return _parse(cls, content, FILE)
        except EpisodeError as error:
            raise EpisodeError(f"{path}: {error}") from error

    def write(self, folder: Path | str, *, durable: bool = True) -> None:
        """Writes or replaces the file in one step; a reader sees the old or the new one.

        Args:
            folder: of the episode.
            durable: as for ``write_atomically``.

        Raises:
            EpisodeError: it cannot be written.
        """
        path = Path(folder) / FILE
        text = json.dumps(dataclasses.asdict(self), indent=2, ensure_ascii=False)
        try:
            write_atomically(path, text + "\n", durable=durable)
        except OSError as error:
            raise EpisodeError(f"cannot write {path}: {error}") from error


def _parse(kind: Any, value: Any, where: str) -> Any:
    """The JSON value as the type of a field; raises EpisodeError where it does not fit."""
    origin, items = typing.get_origin(kind), typing.get_args(kind)
    if origin in (types.UnionType, typing.Union):  # of a type and None
        return None if value is None else _parse(items[0], value, where)
    if origin is tuple:
        return tuple(
            _parse(items[0], item, f"{where}[{i}]")
            for i, item in enumerate(_need(value, list, where))
        )
    if origin is dict:
        content = _need(value, dict, where)
        return {key: _parse(items[1], item, f"{where}.{key}") for key, item in content.items()}
    if dataclasses.is_dataclass(kind) and isinstance(kind, type):
        return _parse_fields(kind, _need(value, dict, where), where)
    plain = typing.cast("type[Any]", kind)
    if plain is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    return _need(value, plain, where)


def _parse_fields(kind: type[Any], content: Mapping[str, Any], where: str) -> Any:
    """A dataclass; fields without a default must be there, unknown ones are left out."""
    hints = typing.get_type_hints(kind)
    values: dict[str, Any] = {}
    for each in dataclasses.fields(kind):
        if each.name in content:
            values[each.name] = _parse(hints[each.name], content[each.name], f"{where}.{each.name}")
        elif each.default is dataclasses.MISSING:
            raise EpisodeError(f"{where} lacks {each.name!r}; it has {sorted(content)}")
    return kind(**values)


def _need(value: Any, kind: type[Any], where: str) -> Any:
    if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
        raise EpisodeError(
            f"{where} must be {kind.__name__}, got {type(value).__name__} {str(value)[:60]!r}"
        )
    return value
