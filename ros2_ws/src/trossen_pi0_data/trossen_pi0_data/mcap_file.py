"""One MCAP file, whole or cut off, read where it lies. ROS-free.

The file is mapped into memory, so that pictures nobody asks for are not even read from the disk.
"""

from __future__ import annotations

import heapq
import mmap
import struct
import zlib
from collections import Counter
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, cast

import zstandard
from mcap.data_stream import ReadDataStream
from mcap.exceptions import McapError
from mcap.opcode import Opcode
from mcap.reader import make_reader
from mcap.records import Channel as ChannelRecord
from mcap.records import Schema
from mcap.summary import Summary

from trossen_pi0_core.errors import EpisodeError

_OPCODES = frozenset(Opcode)
_MAGIC = b"\x89MCAP0\r\n"
_RECORD = struct.Struct("<BQ")  # opcode, length of what follows
_MESSAGE = struct.Struct("<HIQQ")  # channel, sequence, log time, publish time
_CHUNK = struct.Struct("<QQQII")  # first and last log time, size, CRC, length of the next text


@dataclass(frozen=True)
class Channel:
    """A topic in the file.

    Attributes:
        topic: its name.
        type: such as ``sensor_msgs/msg/Image``.
        encoding: of its messages, ``cdr`` in ROS 2.
        schema_encoding: of the definition, ``ros2msg`` or ``ros2idl``.
        definition: of the type and of all types in it.
        metadata: such as ``offered_qos_profiles``.
    """

    topic: str
    type: str
    encoding: str
    schema_encoding: str
    definition: str
    metadata: dict[str, str]


@dataclass(frozen=True)
class RawMessage:
    """A message where it lies; ``data`` is valid as long as the file is open. Times are [ns]."""

    channel_id: int
    log_ns: int
    publish_ns: int
    data: memoryview


@dataclass(frozen=True)
class _Block:
    """A chunk, or a message outside of chunks: where its record is and the times in it [ns]."""

    offset: int
    start_ns: int
    end_ns: int


class McapFile:
    """Channels and messages of a file.

    A file without footer, as a killed recorder leaves it, is read up to its last whole record. Not
    thread-safe.

    Attributes:
        path: of the file.
        channels: by the number they have in the file.
        problems: what is wrong with the file; grows when damaged chunks are met.
    """

    def __init__(self, path: Path) -> None:
        """Raises EpisodeError when it is not there or is no MCAP file."""
        self.path = path
        self.channels: dict[int, Channel] = {}
        self.problems: list[str] = []
        self._schemas: dict[int, Schema] = {}
        self._blocks: list[_Block] = []
        self._counts: Counter[int] | None = None
        self._damaged: set[int] = set()
        try:
            with path.open("rb") as file:
                begins = file.read(len(_MAGIC))
                if begins != _MAGIC:
                    says = f"begins with {begins!r}" if begins else "is empty"
                    raise EpisodeError(f"{path} {says}: it is no MCAP file")
                self._map = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
                self._view = memoryview(self._map)
                summary = _summary(file)
        except OSError as error:
            raise EpisodeError(f"cannot read {path}: {error}") from error
        if summary is None:
            self._scan()
        else:
            self._take(summary)
        self._blocks.sort(key=lambda block: (block.start_ns, block.offset))

    @property
    def is_complete(self) -> bool:
        """Whether its recorder ended it in order."""
        return bytes(self._view[-len(_MAGIC) :]) == _MAGIC and len(self._view) > 2 * len(_MAGIC)

    def span_ns(self) -> tuple[int, int] | None:
        """Log time of its first and of its last message [ns]; None without messages."""
        blocks = [block for block in self._blocks if block.end_ns]
        if not blocks:
            return None
        return min(b.start_ns for b in blocks), max(b.end_ns for b in blocks)

    def counts(self) -> Counter[int]:
        """Messages in each channel."""
        if self._counts is None:
            messages = self.messages(set(self.channels))
            self._counts = Counter(message.channel_id for message in messages)
        return self._counts

    def messages(
        self,
        channels: Collection[int],
        start_ns: int | None = None,
        end_ns: int | None = None,
    ) -> Iterator[RawMessage]:
        """Messages of some channels, by ascending log time.

        Args:
            channels: their numbers.
            start_ns: log time of the first [ns]; None: from the beginning.
            end_ns: log time that is no longer taken [ns]; None: to the end.
        """
        waiting: list[tuple[int, int, int, RawMessage]] = []
        first = -(2**63) if start_ns is None else start_ns
        end = 2**64 if end_ns is None else end_ns
        for block in self._blocks:
            if block.end_ns < first or block.start_ns >= end:
                continue
            while waiting and waiting[0][0] < block.start_ns:
                yield heapq.heappop(waiting)[-1]
            for order, message in enumerate(self._messages_in(block)):
                if message.channel_id in channels and first <= message.log_ns < end:
                    heapq.heappush(waiting, (message.log_ns, block.offset, order, message))
        while waiting:
            yield heapq.heappop(waiting)[-1]

    def verify(self) -> None:
        """Compares each chunk with its checksum, if it has one; adds to ``problems``."""
        for block in self._blocks:
            for _ in self._messages_in(block, verify=True):
                break

    # Finding ------------------------------------------------------------------------------------

    def _take(self, summary: Summary) -> None:
        for index in summary.chunk_indexes:
            self._blocks.append(
                _Block(index.chunk_start_offset, index.message_start_time, index.message_end_time)
            )
        self._schemas.update(summary.schemas)
        for channel in summary.channels.values():
            self._add_channel(channel)
        if summary.statistics is not None:
            self._counts = Counter(summary.statistics.channel_message_counts)

    def _scan(self) -> None:
        """Goes from record to record, as far as they are whole."""
        at, size = len(_MAGIC), len(self._view)
        while at + _RECORD.size <= size:
            code, length = _RECORD.unpack_from(self._view, at)
            end = at + _RECORD.size + length
            if end > size or code not in _OPCODES or code == Opcode.FOOTER:
                break
            if code == Opcode.CHUNK:
                first_ns, last_ns, *_ = _CHUNK.unpack_from(self._view, at + _RECORD.size)
                self._blocks.append(_Block(at, first_ns, last_ns))
                self._learn(self._unpack(at, verify=False))
            elif code == Opcode.MESSAGE:
                log_ns = _MESSAGE.unpack_from(self._view, at + _RECORD.size)[2]
                self._blocks.append(_Block(at, log_ns, log_ns))
            elif code in (Opcode.SCHEMA, Opcode.CHANNEL):
                self._learn(self._view[at:end])
            at = end
        if not self.is_complete:
            left = size - at
            lost = f"; the {left} bytes after its last whole record are lost" if left else ""
            self.problems.append(f"{self.path.name} has no footer: its recorder was killed{lost}")

    def _learn(self, records: memoryview) -> None:
        """Takes the schemas and channels among records."""
        for code, body in _records(records):
            if code == Opcode.SCHEMA:
                schema = Schema.read(_stream(body))
                self._schemas[schema.id] = schema
            elif code == Opcode.CHANNEL:
                self._add_channel(ChannelRecord.read(_stream(body)))

    def _add_channel(self, channel: ChannelRecord) -> None:
        schema = self._schemas.get(channel.schema_id)
        self.channels[channel.id] = Channel(
            channel.topic,
            schema.name if schema else "",
            channel.message_encoding,
            schema.encoding if schema else "",
            schema.data.decode("utf-8", errors="replace") if schema else "",
            dict(channel.metadata),
        )

    # Reading ------------------------------------------------------------------------------------

    def _messages_in(self, block: _Block, *, verify: bool = False) -> Iterator[RawMessage]:
        code, length = _RECORD.unpack_from(self._view, block.offset)
        if code == Opcode.CHUNK:
            records = self._unpack(block.offset, verify=verify)
        else:
            records = self._view[block.offset : block.offset + _RECORD.size + length]
        for code, body in _records(records):
            if code == Opcode.MESSAGE:
                channel_id, _, log_ns, publish_ns = _MESSAGE.unpack_from(body)
                if channel_id in self.channels:
                    yield RawMessage(channel_id, log_ns, publish_ns, body[_MESSAGE.size :])

    def _unpack(self, offset: int, *, verify: bool) -> memoryview:
        """The records of a chunk; none, and a problem, when it is damaged."""
        if offset in self._damaged:
            return memoryview(b"")
        _, length = _RECORD.unpack_from(self._view, offset)
        begin = offset + _RECORD.size
        try:
            _, _, size, crc, text = _CHUNK.unpack_from(self._view, begin)
            at = begin + _CHUNK.size
            compression = bytes(self._view[at : at + text]).decode()
            packed = self._view[at + text + 8 : begin + length]
            records = _decompressor(compression)(packed, size)
        except (ValueError, struct.error, RuntimeError, zstandard.ZstdError) as error:
            return self._lose(offset, str(error))
        if len(records) != size or (verify and crc and zlib.crc32(records) != crc):
            return self._lose(offset, "its checksum is wrong")
        return records

    def _lose(self, offset: int, why: str) -> memoryview:
        self._damaged.add(offset)
        self.problems.append(
            f"{self.path.name}: the chunk at byte {offset} is damaged, its messages are lost: {why}"
        )
        return memoryview(b"")


def _summary(file: IO[bytes]) -> Summary | None:
    """What the end of the file says of it; None when it ends otherwise or has no index."""
    try:
        summary = make_reader(file).get_summary()
    except (McapError, struct.error, ValueError, OSError):
        return None
    return summary if summary is not None and summary.chunk_indexes else None


def _records(data: memoryview) -> Iterator[tuple[int, memoryview]]:
    """Opcode and content of each whole record."""
    at = 0
    while at + _RECORD.size <= len(data):
        code, length = _RECORD.unpack_from(data, at)
        at += _RECORD.size
        if at + length > len(data):
            return
        yield code, data[at : at + length]
        at += length


class _Content:
    """A memory view as the file that the library's records are read from."""

    def __init__(self, view: memoryview) -> None:
        self._view = view

    def read(self, length: int) -> bytes:
        taken, self._view = self._view[:length], self._view[length:]
        return bytes(taken)


def _stream(view: memoryview) -> ReadDataStream:
    return ReadDataStream(cast(IO[bytes], _Content(view)))


def _decompressor(compression: str) -> Callable[[memoryview, int], memoryview]:
    if compression == "":
        return lambda packed, _size: packed
    if compression == "zstd":
        return _unzstd
    if compression == "lz4":
        import lz4.frame

        return lambda packed, _size: memoryview(lz4.frame.decompress(packed))
    raise ValueError(f"compressed by {compression!r}, allowed are none, zstd and lz4")


def _unzstd(packed: memoryview, size: int) -> memoryview:
    return memoryview(zstandard.ZstdDecompressor().decompress(packed, max_output_size=size))
