"""Objects in Google Cloud Storage, through gcsfs."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from trossen_pi0_policy.checkpoints.errors import DownloadError, DownloadInterruptedError

_CONNECT_TIMEOUT_S = 20.0
_SILENCE_TIMEOUT_S = 30.0
_CREDENTIALS_VARIABLE = "GOOGLE_APPLICATION_CREDENTIALS"
_REFUSED = (401, 403)


class ObjectChangedError(DownloadError):
    """The object is no longer the one that was listed."""


@dataclass(frozen=True)
class RemoteObject:
    """An object and what identifies its content.

    Attributes:
        name: ``bucket/key``.
        size: [bytes].
        generation: changes whenever the object is written; empty if the server tells none.
        md5: base64; empty for objects composed of others.
        crc32c: base64; empty if the server tells none.
    """

    name: str
    size: int
    generation: str
    md5: str
    crc32c: str

    @property
    def identity(self) -> dict[str, Any]:
        """All of it, as JSON values."""
        return asdict(self)


class Bucket:
    """Reads objects. All methods belong to the event loop it was opened in; see ``open_bucket``."""

    def __init__(self, files: Any) -> None:
        self._files = files

    async def objects(self, path: str) -> list[RemoteObject]:
        """The object at a path, or those in the folder of that name, at any depth.

        Args:
            path: ``bucket/key``.

        Raises:
            DownloadError: nothing there, or no permission.
            DownloadInterruptedError: the server cannot be reached.
        """
        # fsspec's names of what can be awaited begin with an underscore.
        try:
            with _Translated(f"gs://{path}"):
                entry = await self._files._info(path)  # noqa: SLF001
                if entry["type"] == "file":
                    return [_object(entry)]
                entries = await self._files._find(path, detail=True)  # noqa: SLF001
        except FileNotFoundError as error:
            raise DownloadError(f"gs://{path} does not exist") from error
        found = [entry for entry in entries.values() if not entry["name"].endswith("/")]
        if not found:
            raise DownloadError(f"gs://{path} holds no objects")
        return [_object(entry) for entry in found]

    async def read(self, remote: RemoteObject, start: int, end: int) -> bytes:
        """Bytes ``start`` to ``end`` (exclusive) of an object, retried on passing failures.

        Raises:
            ObjectChangedError: the object was replaced or deleted since it was listed.
            DownloadInterruptedError: the server fails, or cannot be reached.
        """
        try:
            with _Translated(f"gs://{remote.name}"):
                data = await self._files._cat_file(  # noqa: SLF001
                    remote.name, start=start, end=end, generation=remote.generation or None
                )
        except FileNotFoundError as error:
            raise ObjectChangedError(f"gs://{remote.name} was replaced or deleted") from error
        if len(data) != end - start:
            raise ObjectChangedError(
                f"gs://{remote.name}: asked for {end - start} bytes from {start}, got {len(data)}"
            )
        return data


@asynccontextmanager
async def open_bucket() -> AsyncIterator[Bucket]:
    """A connection to the storage server, closed with the context.

    Anonymous unless the machine has Google credentials; a server named by
    ``STORAGE_EMULATOR_HOST`` is always asked anonymously.

    Raises:
        DownloadError: there are credentials, but they are of no use.
    """
    import aiohttp
    from gcsfs.core import GCSFileSystem
    from google.auth.exceptions import GoogleAuthError

    timeout = aiohttp.ClientTimeout(
        total=None, sock_connect=_CONNECT_TIMEOUT_S, sock_read=_SILENCE_TIMEOUT_S
    )
    try:
        files = GCSFileSystem(
            token="google_default" if _has_credentials() else "anon",
            access="read_only",
            asynchronous=True,
            requests_timeout=timeout,
            skip_instance_cache=True,
            use_listings_cache=False,
        )
    except (GoogleAuthError, ValueError, OSError) as error:
        raise DownloadError(
            f"the Google credentials of this machine cannot be used: {error}; repair or unset "
            f"{_CREDENTIALS_VARIABLE}"
        ) from error
    # What gcsfs logs with a traceback is raised as well, and told by whoever catches it.
    logger = logging.getLogger("gcsfs")
    logger.addFilter(_is_no_traceback)
    try:
        yield Bucket(files)
    finally:
        logger.removeFilter(_is_no_traceback)
        if files.session is not None:
            await files.session.close()


class _Translated:
    """Turns what gcsfs raises into the suite's errors, except for an object not found."""

    def __init__(self, url: str) -> None:
        self._url = url

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        import aiohttp
        import requests
        from gcsfs.retry import HttpError, NonRetryableError
        from google.auth.exceptions import GoogleAuthError

        if isinstance(error, FileNotFoundError):
            return
        reason = " ".join(str(error).split()) or type(error).__name__
        code = int(error.code) if isinstance(error, HttpError) and error.code else None
        if code in _REFUSED or (isinstance(error, OSError) and "Forbidden" in str(error)):
            raise DownloadError(
                f"no permission to read {self._url}: {reason}; if it is private, set "
                f"{_CREDENTIALS_VARIABLE} or run `gcloud auth application-default login`"
            ) from error
        if code == 404:
            raise FileNotFoundError(self._url) from error
        if isinstance(error, (GoogleAuthError, NonRetryableError)):
            raise DownloadError(
                f"{self._url}: the Google credentials are refused: {reason}"
            ) from error
        if isinstance(
            error,
            (
                aiohttp.ClientError,
                HttpError,
                requests.RequestException,
                asyncio.TimeoutError,
                OSError,
            ),
        ):
            raise DownloadInterruptedError(f"{self._url} cannot be read: {reason}") from error


def _object(entry: dict[str, Any]) -> RemoteObject:
    return RemoteObject(
        name=entry["name"],
        size=int(entry["size"]),
        generation=str(entry.get("generation") or ""),
        md5=entry.get("md5Hash") or "",
        crc32c=entry.get("crc32c") or "",
    )


def _has_credentials() -> bool:
    if os.environ.get("STORAGE_EMULATOR_HOST"):
        return False
    if os.environ.get(_CREDENTIALS_VARIABLE):
        return True
    folder = Path(os.environ.get("CLOUDSDK_CONFIG") or Path.home() / ".config" / "gcloud")
    return (folder / "application_default_credentials.json").is_file()


def _is_no_traceback(record: logging.LogRecord) -> bool:
    return not record.exc_info
