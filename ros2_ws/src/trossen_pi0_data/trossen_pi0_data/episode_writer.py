"""Writes one episode: bag, pictures and ``episode.json``. ROS-free."""

from __future__ import annotations

import dataclasses
import logging
import re
import shutil
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path

from trossen_pi0_core.errors import EpisodeError
from trossen_pi0_core.parameters import RecorderParameters
from trossen_pi0_data import episode_info
from trossen_pi0_data.bag_metadata import BagTopic, Qos
from trossen_pi0_data.bag_writer import BagWriter, disk_free
from trossen_pi0_data.compression import CompressorThread, make_encoder, picture_format
from trossen_pi0_data.episode_info import (
    CameraInfo,
    EpisodeInfo,
    PolicyInfo,
    SoftwareInfo,
    TopicInfo,
)
from trossen_pi0_data.recorded_topics import RecordedTopic, info_topic
from trossen_pi0_data.write_queue import BagQueue, Sample

_LOG = logging.getLogger(__name__)

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
_MEGABYTE = 1_000_000


@dataclass(frozen=True)
class EpisodeRequest:
    """What an episode is begun with.

    Attributes:
        name: of its folder; empty: date and time.
        prompt: instruction.
        notes: the operator's.
        seed: of the simulation; None: none.
        run_id: of the policy's run; empty: begun by hand.
    """

    name: str = ""
    prompt: str = ""
    notes: str = ""
    seed: int | None = None
    run_id: str = ""


@dataclass(frozen=True)
class EpisodeFigures:
    """How an episode stands.

    Attributes:
        messages: written.
        dropped: came, or were published, and could not be written.
        bytes: written [B].
        silent: topics from which nothing has come.
    """

    messages: int
    dropped: int
    bytes: int
    silent: tuple[str, ...]


class EpisodeWriter:
    """An episode under way. ``add`` and the rest are called by one thread at a time."""

    def __init__(
        self,
        parameters: RecorderParameters,
        topics: Sequence[RecordedTopic],
        request: EpisodeRequest,
        software: SoftwareInfo,
        began_ns: int,
    ) -> None:
        """Makes the folder, the bag and ``episode.json``, and starts the threads.

        Args:
            parameters: of the recorder.
            topics: that ``add`` will be given.
            request: what the episode is begun with.
            software: what records.
            began_ns: present ROS time [ns].

        Raises:
            EpisodeError: the name is not allowed or taken, or the folder cannot be written.
        """
        self._parameters = parameters
        self._root = Path(parameters.episodes_dir).expanduser()
        self._prepare_root()
        self.folder = _new_folder(self._root, request.name)
        self._topics = {topic.name: topic for topic in topics}
        self._lost: Counter[str] = Counter()
        self._heard: set[str] = set()
        self._compressors: dict[str, CompressorThread] = {}
        self._bag_topics: dict[str, BagTopic] = {}
        self._began_s = time.monotonic()
        try:
            bag = BagWriter(
                self.folder,
                compression=parameters.chunk_compression,
                ros_distro=software.ros_distro,
            )
            self._bag = bag
            self._queue = BagQueue(
                bag, self._bag_topics, parameters.queue_mb, parameters.min_disk_mb
            )
            self._add_topics()
            self.info = self._new_info(request, software, began_ns)
            self.info.write(self.folder)
        except (OSError, EpisodeError) as error:
            shutil.rmtree(self.folder, ignore_errors=True)
            raise EpisodeError(f"the episode cannot be begun: {error}") from error

    @property
    def fault(self) -> str:
        """Why nothing is written any more; empty while all is well."""
        return self._queue.fault

    @property
    def duration_s(self) -> float:
        """Since its beginning, by the computer's steady clock [s]."""
        return time.monotonic() - self._began_s

    @property
    def peak_mb(self) -> float:
        """Most that has waited for the disk [MB]."""
        return self._queue.peak_mb

    @property
    def slowest_s(self) -> float:
        """Longest that a write has taken [s]."""
        return self._queue.slowest_s

    def add(self, topic: str, sample: Sample) -> None:
        """Takes a message of one of the topics; ``sample.topic`` is where it came from."""
        if topic not in self._heard:
            self._heard.add(topic)
            self._look(self._topics[topic], sample.data)
        compressor = self._compressors.get(topic)
        if compressor is not None:
            compressor.put(sample)
        else:
            self._queue.put(sample)

    def lost(self, topic: str, count: int) -> None:
        """Counts messages that were published and did not arrive."""
        self._lost[self.recorded_name(topic)] += count

    def offered(self, topic: str, qos: tuple[Qos, ...]) -> None:
        """Takes what the publishers of a topic offer; kept with its first message."""
        name = self.recorded_name(topic)
        self._bag_topics[name] = dataclasses.replace(self._bag_topics[name], qos=qos)

    def recorded_name(self, topic: str) -> str:
        """The name under which a topic's messages are recorded."""
        encoder = self._compressors.get(topic)
        return encoder.topic if encoder else topic

    def figures(self) -> EpisodeFigures:
        """How the episode stands."""
        return EpisodeFigures(
            messages=self._queue.written.total(),
            dropped=self._dropped().total(),
            bytes=self._queue.written_bytes,
            silent=tuple(name for name in self._topics if name not in self._heard),
        )

    def finish(
        self, outcome: str, *, notes: str = "", fault: str = "", policy: PolicyInfo | None = None
    ) -> EpisodeInfo:
        """Writes what waits, the end of the bag and ``episode.json``.

        Args:
            outcome: one of ``episode_info.OUTCOMES``.
            notes: added to the operator's.
            fault: why the episode ended, when nobody ended it.
            policy: the run that it shows.

        Raises:
            EpisodeError: the end cannot be written; the next start of a recorder repairs it.
        """
        self._close_threads()
        written, dropped = self._queue.written, self._dropped()
        for name in self._bag.topics:
            self._bag.add_topic(self._bag_topics[name])
        try:
            span = self._bag.close()
        except OSError as error:
            raise EpisodeError(
                f"the end of {self.folder} cannot be written: {error}; what was recorded is "
                "readable, and the next start of a recorder repairs it"
            ) from error
        in_bag = {topic.name: topic.messages for topic in self._bag.topics.values()}
        self.info = dataclasses.replace(
            self.info,
            state=episode_info.FINISHED,
            outcome=outcome,
            notes=joined(self.info.notes, notes),
            duration_s=span.duration_ns / 1e9,
            topics={
                name: TopicInfo(
                    topic.type,
                    messages=in_bag.get(name, 0),
                    dropped=dropped[name] + written[name] - in_bag.get(name, 0),
                )
                for name, topic in self._bag_topics.items()
            },
            policy=policy or self.info.policy,
            fault="; ".join(text for text in (self.fault, self._problems(), fault) if text),
        )
        self.info.write(self.folder)
        return self.info

    def discard(self) -> None:
        """Ends the episode and deletes its folder.

        Raises:
            EpisodeError: it cannot be deleted.
        """
        self._queue.give_up("the episode was discarded")
        self._close_threads()
        self._bag.abandon()
        delete_episode(self.folder)

    def _prepare_root(self) -> None:
        try:
            self._root.mkdir(parents=True, exist_ok=True)
            free = disk_free(self._root)
        except OSError as error:
            raise EpisodeError(f"episodes_dir {self._root} cannot be used: {error}") from error
        if free < self._parameters.min_disk_mb * _MEGABYTE:
            raise EpisodeError(
                f"the disk of {self._root} is full: {free // _MEGABYTE} MB are free, "
                f"min_disk_mb is {self._parameters.min_disk_mb}"
            )

    def _add_topics(self) -> None:
        """Says under which names the topics are recorded, and starts the compressors."""
        parameters = self._parameters
        for topic in self._topics.values():
            name, kind = topic.name, topic.type
            if topic.camera and parameters.image_compression != "none":
                encoder = make_encoder(
                    parameters.image_compression, parameters.jpeg_quality, parameters.h264_crf
                )
                name, kind = name + encoder.suffix, encoder.type
                self._compressors[topic.name] = CompressorThread(encoder, name, self._queue)
            self._bag_topics[name] = BagTopic(name, kind)

    def _new_info(
        self, request: EpisodeRequest, software: SoftwareInfo, began_ns: int
    ) -> EpisodeInfo:
        joints = self._parameters.joint_map
        compression = self._parameters.image_compression
        return EpisodeInfo(
            name=self.folder.name,
            began_ns=began_ns,
            began=datetime.now(timezone.utc).isoformat(timespec="milliseconds"),
            joint_names=joints.urdf_names,
            dataset_joint_names=joints.dataset_names,
            cameras={
                topic.camera: CameraInfo(
                    topic=self.recorded_name(topic.name),
                    info_topic=info_topic(topic.name),
                    compression=None if compression == "none" else compression,
                )
                for topic in self._topics.values()
                if topic.camera
            },
            topics={name: TopicInfo(topic.type) for name, topic in self._bag_topics.items()},
            software=software,
            prompt=request.prompt,
            notes=request.notes,
            seed=request.seed,
            policy=PolicyInfo(request.run_id) if request.run_id else None,
        )

    def _look(self, topic: RecordedTopic, data: bytes) -> None:
        """Learns a camera's size and encoding from its first picture."""
        if not topic.camera:
            return
        try:
            width, height, encoding = picture_format(data)
        except EpisodeError as error:
            _LOG.warning("%s: %s", topic.name, error)
            return
        camera = dataclasses.replace(
            self.info.cameras[topic.camera], width=width, height=height, encoding=encoding
        )
        cameras = {**self.info.cameras, topic.camera: camera}
        self.info = dataclasses.replace(self.info, cameras=cameras)
        try:  # a killed recorder leaves what is known by now
            self.info.write(self.folder, durable=False)
        except EpisodeError as error:
            _LOG.warning("%s", error)

    def _close_threads(self) -> None:
        for compressor in self._compressors.values():
            compressor.close()
        self._queue.close()

    def _dropped(self) -> Counter[str]:
        """By recorded name: lost on the way, refused by a compressor or by the queue."""
        refused = Counter({c.topic: c.dropped for c in self._compressors.values()})
        return self._lost + refused + self._queue.dropped

    def _problems(self) -> str:
        return "; ".join(f"{c.topic}: {c.problem}" for c in self._compressors.values() if c.problem)


def joined(notes: str, more: str) -> str:
    """Notes with further ones below."""
    return "\n".join(text for text in (notes, more) if text)


def delete_episode(folder: Path) -> None:
    """Deletes an episode's folder and nothing else.

    Raises:
        EpisodeError: it is no episode, or cannot be deleted.
    """
    if folder.is_symlink() or not (folder / episode_info.FILE).is_file():
        raise EpisodeError(f"{folder} is not deleted: it is no episode's folder")
    try:
        shutil.rmtree(folder)
    except OSError as error:
        raise EpisodeError(f"{folder} cannot be deleted: {error}") from error


def _new_folder(root: Path, name: str) -> Path:
    """Makes the folder of an episode; without a name, of one that is not taken."""
    if name and (not _NAME.fullmatch(name) or name.endswith(".")):
        raise EpisodeError(
            f"{name!r} cannot be an episode's name: 1 to 100 letters, digits, '.', '_' and '-', "
            "the first a letter or digit, the last no '.'"
        )
    stem = name or datetime.now().astimezone().strftime("%Y%m%d_%H%M%S")
    for count in range(1, 1000):
        folder = root / (stem if count == 1 else f"{stem}_{count}")
        try:
            folder.mkdir()
        except FileExistsError:
            if name:
                raise EpisodeError(f"an episode {name!r} is already there: {folder}") from None
        except OSError as error:
            raise EpisodeError(f"{folder} cannot be made: {error}") from error
        else:
            return folder
    raise EpisodeError(f"there are already 999 episodes {stem!r} in {root}")
