"""Writes one rosbag2 bag: a folder with ``metadata.yaml`` and one MCAP file. ROS-free.

Messages are given as they came, serialised, and are never decoded. Each flush completes a chunk
and hands it to the operating system, so that a killed process loses what came since then.
"""

from __future__ import annotations

import dataclasses
import os
import shutil
from pathlib import Path
from typing import IO

from mcap.writer import CompressionType, Writer

from trossen_pi0_core.errors import EpisodeError
from trossen_pi0_data import bag_metadata
from trossen_pi0_data.bag_metadata import BagSpan, BagTopic, metadata_text, qos_text
from trossen_pi0_data.definitions import full_definition, type_hash
from trossen_pi0_data.files import write_atomically
from trossen_pi0_data.mcap_repair import claim, repair

CHUNK_COMPRESSIONS = {"none": CompressionType.NONE, "zstd": CompressionType.ZSTD}
"""How chunks can be compressed."""

_CHUNK_BYTES = 4 << 20  # a few pictures: the summary stays small, and so do the copies
_RESERVE = ".reserve"
_RESERVE_BYTES = 4 << 20
_MOST_DROPPED = 3  # last chunks given up to make room for the end of the file


class BagWriter:
    """A bag that is being written. For one thread at a time.

    Space for the end of the bag is set aside at the beginning, so that a full disk costs no more
    than the chunk that found no room.
    """

    def __init__(self, folder: Path, *, compression: str = "none", ros_distro: str = "") -> None:
        """Makes the file in a folder that exists and has none.

        Args:
            folder: of the bag; its name is that of the file.
            compression: of the chunks, one of ``CHUNK_COMPRESSIONS``.
            ros_distro: such as jazzy, for the metadata.

        Raises:
            EpisodeError: no such compression.
            OSError: the file cannot be made, or the disk is full.
        """
        if compression not in CHUNK_COMPRESSIONS:
            raise EpisodeError(
                f"chunks are compressed by one of {list(CHUNK_COMPRESSIONS)}, got {compression!r}"
            )
        self.path = folder / mcap_name(folder)
        self._ros_distro = ros_distro
        self._topics: dict[str, BagTopic] = {}
        self._channels: dict[str, int] = {}
        self._schemas: dict[str, int] = {}
        self._span: BagSpan | None = None
        self._reserve = folder / _RESERVE
        set_aside(self._reserve)
        # Unbuffered: the writer hands out whole chunks, and what is written survives the process.
        self._file: IO[bytes] = self.path.open("xb", buffering=0)
        claim(self._file)
        self._sink = _Sink(self._file.fileno())
        self._writer = Writer(
            self._sink,  # pyright: ignore[reportArgumentType] - it needs write, tell and flush
            chunk_size=_CHUNK_BYTES,
            compression=CHUNK_COMPRESSIONS[compression],
        )
        self._writer.start(profile="ros2", library="trossen_pi0")

    @property
    def topics(self) -> dict[str, BagTopic]:
        """What was written, by topic."""
        return self._topics

    @property
    def size(self) -> int:
        """Of the file, without the chunk that is being filled [B]."""
        return self._sink.position

    def add_topic(self, topic: BagTopic) -> None:
        """Makes a channel for a topic; afterwards, gives it what its publishers offer.

        Raises:
            EpisodeError: the definition of its type is not installed.
        """
        known = self._topics.get(topic.name)
        if known is not None:
            self._topics[topic.name] = dataclasses.replace(known, qos=topic.qos)
            return
        topic = dataclasses.replace(topic, type_hash=topic.type_hash or type_hash(topic.type))
        if topic.type not in self._schemas:
            text = full_definition(topic.type).encode()
            self._schemas[topic.type] = self._writer.register_schema(topic.type, "ros2msg", text)
        self._channels[topic.name] = self._writer.register_channel(
            topic.name,
            "cdr",
            self._schemas[topic.type],
            {"offered_qos_profiles": qos_text(topic.qos), "topic_type_hash": topic.type_hash},
        )
        self._topics[topic.name] = topic

    def write(self, topic: str, data: bytes, log_ns: int, publish_ns: int, sequence: int) -> None:
        """Writes a message of a topic that was added.

        Args:
            topic: its name.
            data: CDR with its header, as DDS brought it.
            log_ns: time of arrival [ns].
            publish_ns: time of publication [ns].
            sequence: the publisher's number of it; 0: not known.

        Raises:
            OSError: the chunk that it completed cannot be written.
        """
        self._writer.add_message(
            self._channels[topic], log_ns, data, publish_ns, sequence & 0xFFFFFFFF
        )
        known = self._topics[topic]
        self._topics[topic] = dataclasses.replace(known, messages=known.messages + 1)
        span = self._span or BagSpan(log_ns, log_ns, 0)
        self._span = BagSpan(
            min(span.first_ns, log_ns), max(span.last_ns, log_ns), span.messages + 1
        )

    def flush(self) -> None:
        """Completes the chunk and hands it to the operating system.

        Raises:
            OSError: it cannot be written.
        """
        self._writer.flush()

    def close(self) -> BagSpan:
        """Writes the end of the file and ``metadata.yaml``, also after a failed write.

        Returns:
            What the bag holds. After a failed write that may be less than was written; ``topics``
            then tells the messages that are left.

        Raises:
            OSError: not even that can be written; the file is readable up to its last whole chunk.
        """
        self._reserve.unlink(missing_ok=True)
        failed = self._sink.failed
        if not failed:
            try:
                self._writer.finish()
            except OSError:
                failed = True
        self._file.close()
        if failed:
            self._mend()
        span = self._span or BagSpan(0, 0, 0)
        write_metadata(self.path, list(self._topics.values()), span, self._ros_distro)
        return span

    def abandon(self) -> None:
        """Closes the file without an end, for a bag that is thrown away."""
        self._reserve.unlink(missing_ok=True)
        self._file.close()

    def _mend(self) -> None:
        """Ends the file behind the last chunk that leaves room for that."""
        for drop in range(_MOST_DROPPED + 1):
            try:
                content = repair(self.path, drop_chunks=drop)
            except OSError:
                if drop == _MOST_DROPPED:
                    raise
                continue
            left = content.counts_by_topic
            self._span = BagSpan(content.first_ns, content.last_ns, sum(left.values()))
            self._topics = {
                name: dataclasses.replace(topic, messages=left.get(name, 0))
                for name, topic in self._topics.items()
            }
            return


class _Sink:
    """Takes the writer's chunks; writes nothing more after it failed once."""

    def __init__(self, handle: int) -> None:
        self.position = 0
        self.failed = False
        self._handle = handle

    def write(self, data: bytes) -> int:
        if self.failed:
            raise OSError("an earlier write failed")
        try:
            write_to(self._handle, data)
        except OSError:
            self.failed = True
            raise
        self.position += len(data)
        return len(data)

    def tell(self) -> int:
        return self.position

    def flush(self) -> None:
        """Nothing waits in this process."""


def write_to(handle: int, data: bytes) -> None:
    """Writes all of the data; a full disk takes a part of it.

    Raises:
        OSError: not all could be written.
    """
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(handle, rest) :]


def mcap_name(folder: Path) -> str:
    """Name of the MCAP file in a bag's folder."""
    return f"{folder.name}_0.mcap"


def set_aside(path: Path) -> None:
    """Takes space on the disk, to be given back when the bag is closed.

    Raises:
        OSError: the disk is full.
    """
    with path.open("wb") as file:
        if hasattr(os, "posix_fallocate"):
            os.posix_fallocate(file.fileno(), 0, _RESERVE_BYTES)
        else:
            file.write(bytes(_RESERVE_BYTES))


def give_back(folder: Path) -> None:
    """Gives back the space that a killed recorder had set aside."""
    (folder / _RESERVE).unlink(missing_ok=True)


def write_metadata(path: Path, topics: list[BagTopic], span: BagSpan, ros_distro: str) -> None:
    """Writes ``metadata.yaml`` beside a bag's MCAP file.

    Raises:
        OSError: it cannot be written.
    """
    text = metadata_text(path.name, topics, span, ros_distro)
    write_atomically(path.with_name(bag_metadata.FILE), text)


def disk_free(folder: Path) -> int:
    """What may still be written where a folder is [B]."""
    return shutil.disk_usage(folder).free
