"""Checkpoints and other files from ``gs://`` buckets, through a cache on disk.

The cache holds ``<bucket>/<key>`` below its folder, and what it knows about them in ``.state``.
"""

from __future__ import annotations

import asyncio
import logging
import os
import re
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from trossen_pi0_policy.checkpoints.bucket import (
    Bucket,
    ObjectChangedError,
    RemoteObject,
    open_bucket,
)
from trossen_pi0_policy.checkpoints.errors import DownloadError, DownloadInterruptedError
from trossen_pi0_policy.checkpoints.progress import Advance, download_progress
from trossen_pi0_policy.checkpoints.shipped import SCHEME, shipped_checkpoint
from trossen_pi0_policy.checkpoints.transfer import Slot, read_json, transfer, write_json

CACHE_VARIABLE = "TROSSEN_PI0_CACHE"
OPENPI_CACHE_VARIABLE = "OPENPI_DATA_HOME"
TOKENIZER_URL = "gs://big_vision/paligemma_tokenizer.model"
PARALLEL_REQUESTS = 8

ProgressDisplay = Callable[[str, int, int], AbstractContextManager[Advance]]
"""Called with what is downloaded, its size and what is there already [bytes]."""

_LOG = logging.getLogger(__name__)
_SPARE_BYTES = 16 * 2**20
_SCHEME = re.compile(r"([a-zA-Z][a-zA-Z0-9+.-]*)://")


def fetch(
    location: str | Path,
    *,
    cache_dir: str | Path | None = None,
    progress: ProgressDisplay = download_progress,
) -> Path:
    """Makes a file or folder available on disk.

    What is in the cache is returned without asking the server; so is a file in openpi's cache, and
    a folder there after comparing it with the server's listing, or with a warning if the server
    cannot be reached. Several processes may fetch the same: one does, the others wait. Not to be
    called from within a running event loop.

    Args:
        location: a path on disk, ``gs://bucket/path`` of an object or folder, or
            ``shipped://NAME`` of a checkpoint that comes with the suite.
        cache_dir: None: ``$TROSSEN_PI0_CACHE/downloads``, ``~/.cache/trossen_pi0/downloads``
            without that variable.
        progress: shows how far it is.

    Raises:
        DownloadError: no such file, no permission, no space on disk.
        DownloadInterruptedError: the server fails or cannot be reached; the next call goes on.
    """
    text = os.fspath(location)
    scheme = _SCHEME.match(text)
    if scheme is None:
        path = Path(text).expanduser()
        if not path.exists():
            raise DownloadError(f"{path} does not exist; a path or gs://bucket/path is expected")
        return path.resolve()
    if scheme[1].lower() == SCHEME:
        return shipped_checkpoint(text[scheme.end() :])
    cache = _Cache(_cache_folder(cache_dir), _remote_path(text, scheme[1]))
    found = cache.content() or _openpi_file(cache.path)
    if found is not None:
        return found
    try:
        with _locked(cache.lock_file):
            return cache.content() or asyncio.run(_download(cache, progress))
    except (DownloadInterruptedError, ObjectChangedError) as error:
        raise DownloadInterruptedError(f"{error}. {cache.how_to_go_on}") from error
    except KeyboardInterrupt:
        _LOG.warning("gs://%s: interrupted. %s", cache.path, cache.how_to_go_on)
        raise
    except OSError as error:
        raise DownloadError(
            f"gs://{cache.path} cannot be put into {cache.root}: {error}"
        ) from error


def tokenizer_file(path: str | Path | None = None) -> Path:
    """The SentencePiece model of PaliGemma: the given file, else that of the cache or a download.

    Raises:
        DownloadError: it cannot be had.
    """
    if path is None:
        try:
            return fetch(TOKENIZER_URL)
        except DownloadError as error:
            raise DownloadError(
                f"the PaliGemma tokeniser is neither in the cache nor to be downloaded: {error}. "
                "A file already on disk can be named with --tokenizer FILE"
            ) from error
    file = Path(path).expanduser()
    if not file.is_file():
        raise DownloadError(f"tokeniser {file} is no file; --tokenizer names a SentencePiece model")
    return file.resolve()


@dataclass(frozen=True)
class _Cache:
    """The place of one remote path in the cache.

    Attributes:
        root: folder of the cache.
        path: ``bucket/key``, without a slash at the end.
    """

    root: Path
    path: str

    @property
    def target(self) -> Path:
        return self.root / self.path

    @property
    def how_to_go_on(self) -> str:
        return f"What has arrived is kept in {self.root}: the same call again goes on from there"

    @property
    def lock_file(self) -> Path:
        """One for each bucket: folders that are fetched may lie within one another."""
        return self.root / ".state" / f"{PurePosixPath(self.path).parts[0]}.lock"

    @property
    def _record(self) -> Path:
        return self.root / ".state" / self.path / "complete.json"

    def slot(self, remote: RemoteObject) -> Slot:
        parts = PurePosixPath(remote.name).parts
        if ".." in parts or not f"{remote.name}/".startswith(f"{self.path}/"):
            raise DownloadError(f"gs://{self.path} lists an object outside of it: {remote.name!r}")
        return Slot(remote, self.root / remote.name, self.root / ".state" / remote.name)

    def content(self) -> Path | None:
        """The file or folder, if it was downloaded to the end and nothing was removed since."""
        sizes = read_json(self._record)
        if not isinstance(sizes, dict):
            return None
        whole = all(_has_size(self.root / name, size) for name, size in sizes.items())
        return self.target if whole else None

    def complete(self, objects: Sequence[RemoteObject]) -> Path:
        write_json(self._record, {remote.name: remote.size for remote in objects})
        return self.target


async def _download(cache: _Cache, progress: ProgressDisplay) -> Path:
    async with open_bucket() as bucket:
        try:
            return await _update(bucket, cache, progress)
        except ObjectChangedError as error:
            _LOG.warning("%s; it is downloaded anew", error)
            return await _update(bucket, cache, progress)


async def _update(bucket: Bucket, cache: _Cache, progress: ProgressDisplay) -> Path:
    """Fetches what the cache lacks of what the server lists now."""
    copy = _openpi_copy(cache.path)
    try:
        objects = await bucket.objects(cache.path)
    except DownloadInterruptedError as error:
        if not copy.is_dir():
            raise
        _LOG.warning("%s; using openpi's copy %s as it is", error, copy)
        return copy
    if _has_all(copy, cache.path, objects):
        _LOG.info("using openpi's copy %s", copy)
        return copy
    await _transfer_all(bucket, cache, [cache.slot(each) for each in objects], progress)
    return cache.complete(objects)


async def _transfer_all(
    bucket: Bucket, cache: _Cache, slots: Sequence[Slot], progress: ProgressDisplay
) -> None:
    total = sum(slot.remote.size for slot in slots)
    there = sum(slot.bytes_there() for slot in slots)
    cache.root.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(cache.root).free
    if free < total - there + _SPARE_BYTES:
        raise DownloadError(
            f"not enough space for gs://{cache.path} in {cache.root}: needed "
            f"{(total - there) / 1e9:.2f} GB, free {free / 1e9:.2f} GB; {CACHE_VARIABLE} can name "
            "another folder"
        )
    requests = asyncio.Semaphore(PARALLEL_REQUESTS)
    with progress(f"gs://{cache.path}", total, there) as advance:
        tasks = [asyncio.create_task(transfer(bucket, each, advance, requests)) for each in slots]
        try:
            await asyncio.gather(*tasks)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)


@contextmanager
def _locked(file: Path) -> Iterator[None]:
    from filelock import FileLock, Timeout

    file.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(file)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        _LOG.info("another process downloads into the cache; waiting for %s", file)
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


def _remote_path(location: str, scheme: str) -> str:
    path = PurePosixPath(location[len(scheme) + len("://") :])
    if scheme.lower() != "gs" or len(path.parts) < 2 or path.is_absolute() or ".." in path.parts:
        raise DownloadError(
            f"{location!r} is neither a path on disk nor gs://bucket/path nor {SCHEME}://NAME"
        )
    return path.as_posix()


def _cache_folder(cache_dir: str | Path | None) -> Path:
    if cache_dir is None:
        cache_dir = Path(os.environ.get(CACHE_VARIABLE) or "~/.cache/trossen_pi0") / "downloads"
    return Path(cache_dir).expanduser().resolve()


def _openpi_copy(path: str) -> Path:
    cache = Path(os.environ.get(OPENPI_CACHE_VARIABLE) or "~/.cache/openpi")
    return cache.expanduser().resolve() / path


def _openpi_file(path: str) -> Path | None:
    """A file in openpi's cache, which gives files their name when they are complete."""
    copy = _openpi_copy(path)
    return copy if copy.is_file() else None


def _has_all(folder: Path, path: str, objects: Sequence[RemoteObject]) -> bool:
    """Whether a folder has all the files that the server lists.

    That the folder is there says nothing: openpi also downloads parts of a checkpoint, such as the
    parameters only.
    """
    names = ((remote.name.removeprefix(f"{path}/"), remote.size) for remote in objects)
    return folder.is_dir() and all(_has_size(folder / name, size) for name, size in names)


def _has_size(file: Path, size: object) -> bool:
    return file.is_file() and file.stat().st_size == size
