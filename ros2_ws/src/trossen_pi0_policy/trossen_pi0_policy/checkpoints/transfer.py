"""Objects into files: by ranges, resumed where they stopped, checked at the end.

Beside the files lies a folder of state, by object name: ``part`` with the first bytes of an object
and ``part.json`` with the identity of the object they are of; ``done.json`` with the identity of
the object that the finished file is.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
from collections import deque
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trossen_pi0_policy.checkpoints.bucket import Bucket, ObjectChangedError, RemoteObject
from trossen_pi0_policy.checkpoints.progress import Advance

CHUNK_BYTES = 8 * 2**20
"""Bytes of one request; what is under way is lost when a download is interrupted."""

READ_AHEAD = 4
"""Requests of one object under way at the same time."""

_HASH_BYTES = 2**20


@dataclass(frozen=True)
class Slot:
    """Where one object goes.

    Attributes:
        remote: the object.
        file: final name of its content.
        state: folder of its state.
    """

    remote: RemoteObject
    file: Path
    state: Path

    @property
    def part(self) -> Path:
        """File with the first bytes of the object."""
        return self.state / "part"

    def is_done(self) -> bool:
        """Whether the file is there and is of this object."""
        return (
            read_json(self.state / "done.json") == self.remote.identity
            and self.file.is_file()
            and self.file.stat().st_size == self.remote.size
        )

    def bytes_there(self) -> int:
        """How many bytes of this very object need not be fetched."""
        if self.is_done():
            return self.remote.size
        if read_json(self.state / "part.json") != self.remote.identity or not self.part.exists():
            return 0
        return min(self.part.stat().st_size, self.remote.size)


async def transfer(
    bucket: Bucket, slot: Slot, advance: Advance, requests: asyncio.Semaphore
) -> None:
    """Fetches what is lacking of an object, checks all of it, and gives the file its name.

    Args:
        bucket: where the object is.
        slot: where it goes.
        advance: told of the bytes that arrive.
        requests: bounds the requests under way, of all objects together.

    Raises:
        ObjectChangedError: the object was replaced meanwhile, or arrived damaged.
    """
    if slot.is_done():
        return
    there = slot.bytes_there()
    slot.state.mkdir(parents=True, exist_ok=True)
    if there == 0:
        slot.part.write_bytes(b"")
        write_json(slot.state / "part.json", slot.remote.identity)
    await _append(bucket, slot, there, advance, requests)
    if not await asyncio.to_thread(_is_intact, slot.part, slot.remote):
        slot.part.unlink()
        raise ObjectChangedError(
            f"gs://{slot.remote.name}: the checksum of what arrived is not that of the server"
        )
    slot.file.parent.mkdir(parents=True, exist_ok=True)
    slot.part.replace(slot.file)
    write_json(slot.state / "done.json", slot.remote.identity)
    (slot.state / "part.json").unlink()


async def _append(
    bucket: Bucket, slot: Slot, there: int, advance: Advance, requests: asyncio.Semaphore
) -> None:
    """Reads ranges ahead of one another and writes them in order: the part is always a prefix."""
    remote = slot.remote

    async def read(start: int) -> bytes:
        async with requests:
            return await bucket.read(remote, start, min(start + CHUNK_BYTES, remote.size))

    starts = iter(range(there, remote.size, CHUNK_BYTES))
    under_way: deque[asyncio.Task[bytes]] = deque()
    try:
        with slot.part.open("r+b") as file:
            file.truncate(there)
            file.seek(there)
            for start in starts:
                under_way.append(asyncio.create_task(read(start)))
                if len(under_way) == READ_AHEAD:
                    await _write_next(file, under_way, advance)
            while under_way:
                await _write_next(file, under_way, advance)
    finally:
        for task in under_way:
            task.cancel()
        await asyncio.gather(*under_way, return_exceptions=True)


async def _write_next(file: Any, under_way: deque[asyncio.Task[bytes]], advance: Advance) -> None:
    data = await under_way[0]
    under_way.popleft()
    file.write(data)
    file.flush()
    advance(len(data))


def write_json(file: Path, value: object) -> None:
    """Writes a JSON file that is there as a whole or not at all."""
    file.parent.mkdir(parents=True, exist_ok=True)
    temporary = file.with_name(f".{file.name}.new")
    temporary.write_text(json.dumps(value), encoding="utf-8")
    temporary.replace(file)


def read_json(file: Path) -> Any:
    """Content of a JSON file; None if there is none that can be read."""
    try:
        return json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None


def _is_intact(file: Path, remote: RemoteObject) -> bool:
    """Whether size and checksum are those of the object; MD5 if it has one, else CRC32C."""
    if file.stat().st_size != remote.size:
        return False
    if remote.md5:
        digest, expected = hashlib.md5(usedforsecurity=False), remote.md5
    elif remote.crc32c:
        import google_crc32c

        digest, expected = google_crc32c.Checksum(), remote.crc32c
    else:
        return True
    with file.open("rb") as content:
        while block := content.read(_HASH_BYTES):
            digest.update(block)
    return base64.b64encode(digest.digest()).decode() == expected
