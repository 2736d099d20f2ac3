"""Gives an MCAP file that was cut off its end: what is whole stays where it lies. ROS-free.

A killed recorder leaves a file without summary and footer, whose last record may be incomplete.
What follows the last whole chunk is cut off and the end is written behind it. Nothing recorded is
copied or moved, so that this takes milliseconds, needs no space beside the file, and may itself be
interrupted and begun again at any point.
"""

from __future__ import annotations

import fcntl
import os
import struct
import zlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import IO

import zstandard
from mcap.data_stream import ReadDataStream, RecordBuilder
from mcap.opcode import Opcode
from mcap.records import (
    Channel,
    ChunkIndex,
    DataEnd,
    Footer,
    MessageIndex,
    Schema,
    Statistics,
    SummaryOffset,
)

from trossen_pi0_core.errors import EpisodeError

_MAGIC = b"\x89MCAP0\r\n"
_HEAD = struct.Struct("<BQ")  # opcode, length of the content
_CHUNK = struct.Struct("<QQQII")  # first and last log time, size, CRC, length of the next text
_MESSAGE = struct.Struct("<HIQQ")  # channel, sequence, log time, publish time


@dataclass
class _Chunk:
    """One whole chunk: its entry in the summary and its messages by channel id."""

    index: ChunkIndex
    counts: Counter[int] = field(default_factory=Counter)


@dataclass
class McapContent:
    """What a file holds up to its last whole chunk.

    Attributes:
        schemas: by id.
        channels: by id.
        chunks: in the order of the file.
        begin: offset of the first record behind the header [B].
    """

    schemas: dict[int, Schema] = field(default_factory=dict)
    channels: dict[int, Channel] = field(default_factory=dict)
    chunks: list[_Chunk] = field(default_factory=list)
    begin: int = 0

    @property
    def first_ns(self) -> int:
        """Earliest log time [ns]; 0 without messages."""
        return min((chunk.index.message_start_time for chunk in self.chunks), default=0)

    @property
    def last_ns(self) -> int:
        """Latest log time [ns]; 0 without messages."""
        return max((chunk.index.message_end_time for chunk in self.chunks), default=0)

    @property
    def counts(self) -> Counter[int]:
        """Messages by channel id."""
        return sum((chunk.counts for chunk in self.chunks), Counter())

    @property
    def counts_by_topic(self) -> dict[str, int]:
        """Messages by topic."""
        counts = self.counts
        return {channel.topic: counts[channel.id] for channel in self.channels.values()}


def repair(path: Path, drop_chunks: int = 0) -> McapContent:
    """Writes the end of a file that has none, and anew of one that has.

    Args:
        path: of the file.
        drop_chunks: so many of the last chunks are given up, for room on a full disk.

    Returns:
        What the file holds now.

    Raises:
        EpisodeError: it is no MCAP file, or a recorder is writing to it.
        OSError: it cannot be read or written.
    """
    with path.open("r+b") as file:
        claim(file)
        content = _scan(file, path)
        del content.chunks[max(0, len(content.chunks) - drop_chunks) :]
        index = _last_index(file, content)
        end = content.begin
        if content.chunks:
            last = content.chunks[-1].index
            end = last.chunk_start_offset + last.chunk_length
        file.truncate(end)
        file.seek(end)
        file.write(index + _ending(content, end + len(index)))
        file.flush()
        os.fsync(file.fileno())
    return content


def claim(file: IO[bytes]) -> None:
    """Keeps a file for this process until it is closed, or the process ends in any way.

    Raises:
        EpisodeError: another one has it.
    """
    try:
        fcntl.flock(file.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise EpisodeError(f"{file.name} is being written by a recorder") from error


def _scan(file: IO[bytes], path: Path) -> McapContent:
    """Goes from record to record, over the chunks' content where it is not needed."""
    size = os.fstat(file.fileno()).st_size
    if file.read(len(_MAGIC)) != _MAGIC:
        raise EpisodeError(f"{path} is no MCAP file: it does not begin with {_MAGIC!r}")
    content = McapContent()
    position = len(_MAGIC)
    while position + _HEAD.size <= size:
        file.seek(position)
        opcode, length = _HEAD.unpack(file.read(_HEAD.size))
        start, position = position, position + _HEAD.size + length
        if position > size or opcode in (Opcode.DATA_END, Opcode.FOOTER):
            break
        if opcode == Opcode.HEADER:
            content.begin = position
        elif opcode == Opcode.CHUNK:
            content.chunks.append(_Chunk(_chunk_index(file, start, position - start)))
        elif opcode == Opcode.MESSAGE_INDEX and content.chunks:
            _take_index(file, content.chunks[-1], start, position - start)
    if not content.begin:
        raise EpisodeError(f"{path} ends within its header: nothing was recorded")
    _drop_broken(file, content)
    _learn_channels(file, content)
    return content


def _chunk_index(file: IO[bytes], start: int, length: int) -> ChunkIndex:
    first_ns, last_ns, size, _, letters = _CHUNK.unpack(file.read(_CHUNK.size))
    compression = file.read(letters).decode()
    (compressed,) = struct.unpack("<Q", file.read(8))
    return ChunkIndex(
        message_start_time=first_ns,
        message_end_time=last_ns,
        chunk_start_offset=start,
        chunk_length=length,
        message_index_offsets={},
        message_index_length=0,
        compression=compression,
        compressed_size=compressed,
        uncompressed_size=size,
    )


def _take_index(file: IO[bytes], chunk: _Chunk, start: int, length: int) -> None:
    channel, size = struct.unpack("<HI", file.read(6))
    chunk.index.message_index_offsets[channel] = start
    chunk.index.message_index_length += length
    chunk.counts[channel] = size // 16  # entries of log time and offset


def _drop_broken(file: IO[bytes], content: McapContent) -> None:
    """Gives up last chunks without the content that was written, as after a power cut."""
    while content.chunks:
        try:
            _records(file, content.chunks[-1].index)
        except (EpisodeError, zstandard.ZstdError):
            content.chunks.pop()
        else:
            return


def _learn_channels(file: IO[bytes], content: McapContent) -> None:
    """Reads schemas and channels out of the chunks in which a channel is first used."""
    for chunk in content.chunks:
        last = chunk is content.chunks[-1]
        if not last and set(chunk.counts) <= set(content.channels):
            continue
        for opcode, record, _ in _walk(_records(file, chunk.index)):
            stream = ReadDataStream(BytesIO(record)) if opcode != Opcode.MESSAGE else None
            if stream and opcode == Opcode.SCHEMA:
                schema = Schema.read(stream)
                content.schemas[schema.id] = schema
            elif stream and opcode == Opcode.CHANNEL:
                channel = Channel.read(stream)
                content.channels[channel.id] = channel


def _last_index(file: IO[bytes], content: McapContent) -> bytes:
    """The message indexes of the last chunk, made anew: those in the file may be incomplete."""
    if not content.chunks:
        return b""
    chunk = content.chunks[-1]
    entries: dict[int, list[tuple[int, int]]] = {}
    for opcode, record, offset in _walk(_records(file, chunk.index)):
        if opcode == Opcode.MESSAGE:
            channel, _, log_ns, _ = _MESSAGE.unpack_from(record)
            entries.setdefault(channel, []).append((log_ns, offset))
    chunk.counts = Counter({channel: len(records) for channel, records in entries.items()})
    begin = chunk.index.chunk_start_offset + chunk.index.chunk_length
    builder = RecordBuilder()
    chunk.index.message_index_offsets.clear()
    for channel, records in entries.items():
        chunk.index.message_index_offsets[channel] = begin + builder.count
        MessageIndex(channel, records).write(builder)
    chunk.index.message_index_length = builder.count
    return builder.end()


def _records(file: IO[bytes], index: ChunkIndex) -> bytes:
    """The records in a chunk.

    Raises:
        EpisodeError: they are not what was written, or are compressed in a way not known here.
    """
    file.seek(index.chunk_start_offset + _HEAD.size)
    crc = _CHUNK.unpack(file.read(_CHUNK.size))[3]
    file.seek(len(index.compression) + 8, os.SEEK_CUR)
    data = file.read(index.compressed_size)
    if index.compression == "zstd":
        data = zstandard.decompress(data, max_output_size=index.uncompressed_size)
    elif index.compression:
        raise EpisodeError(f"chunks compressed by {index.compression!r}: only zstd is known")
    if len(data) != index.uncompressed_size or (crc and zlib.crc32(data) != crc):
        raise EpisodeError("a chunk does not hold what was written")
    return data


def _walk(data: bytes) -> Iterator[tuple[int, memoryview, int]]:
    """Opcode, content and offset of each record in a chunk."""
    view, position = memoryview(data), 0
    while position + _HEAD.size <= len(view):
        opcode, length = _HEAD.unpack_from(view, position)
        begin = position + _HEAD.size
        yield opcode, view[begin : begin + length], position
        position = begin + length


def _ending(content: McapContent, offset: int) -> bytes:
    """Everything behind the data: its end, the summary with its offsets, and the footer.

    Args:
        content: what the data holds.
        offset: where the ending will lie in the file [B].
    """
    data_end = RecordBuilder()
    DataEnd(0).write(data_end)
    before = data_end.end()
    begin = offset + len(before)
    counts = content.counts
    statistics = Statistics(
        attachment_count=0,
        channel_count=len(content.channels),
        channel_message_counts=dict(counts),
        chunk_count=len(content.chunks),
        message_count=counts.total(),
        message_end_time=content.last_ns,
        message_start_time=content.first_ns,
        metadata_count=0,
        schema_count=len(content.schemas),
    )
    groups = (
        (Opcode.SCHEMA, list(content.schemas.values())),
        (Opcode.CHANNEL, list(content.channels.values())),
        (Opcode.STATISTICS, [statistics]),
        (Opcode.CHUNK_INDEX, [chunk.index for chunk in content.chunks]),
    )
    builder = RecordBuilder()
    offsets: list[SummaryOffset] = []
    for opcode, records in groups:
        start = builder.count
        for record in records:
            record.write(builder)
        if records:
            offsets.append(SummaryOffset(opcode, begin + start, builder.count - start))
    offsets_begin = begin + builder.count
    for group in offsets:
        group.write(builder)
    summary = builder.end()
    fixed = struct.pack("<BQQQ", Opcode.FOOTER, 20, begin, offsets_begin)
    Footer(begin, offsets_begin, zlib.crc32(fixed, zlib.crc32(summary))).write(builder)
    return before + summary + builder.end() + _MAGIC
