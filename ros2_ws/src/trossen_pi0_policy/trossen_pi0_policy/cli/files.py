"""Observations, noise and actions in numpy files."""

from __future__ import annotations

import contextlib
import os
import tempfile
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from trossen_pi0_core.errors import ObservationError

STATE, PROMPT, IMAGES = "state", "prompt", "images/"
_FORMAT_ERRORS = (OSError, ValueError, EOFError, zipfile.BadZipFile, zlib.error)


def read_observation(file: Path) -> dict[str, Any]:
    """An observation as the websocket request holds it, from an ``.npz`` file.

    The file's arrays are ``state``, ``images/<camera>`` for each camera and, unless the policy has
    a default, ``prompt``.

    Returns:
        ``state``: float32, shape (joints,) [rad; m for carriages]; ``images``: camera -> uint8 or
        float RGB, shape (3, h, w); ``prompt``: str, where the file has one.

    Raises:
        ObservationError: the file cannot be read, lacks an array, or one is of another kind.
    """
    arrays = _read_npz(file)
    cameras = [name for name in arrays if name.startswith(IMAGES) and name != IMAGES]
    unknown = sorted(set(arrays) - {STATE, PROMPT, *cameras})
    if unknown:
        raise ObservationError(
            f"{file}: unknown arrays {unknown}; allowed are {STATE!r}, {PROMPT!r} and "
            f"'{IMAGES}<camera>'"
        )
    if STATE not in arrays or not cameras:
        missing = STATE if STATE not in arrays else f"{IMAGES}<camera>"
        raise ObservationError(f"{file}: there is no array {missing!r}, only {sorted(arrays)}")
    request: dict[str, Any] = {
        STATE: _state(file, arrays[STATE]),
        "images": {name[len(IMAGES) :]: _image(file, name, arrays[name]) for name in cameras},
    }
    if PROMPT in arrays:
        request[PROMPT] = _prompt(file, arrays[PROMPT])
    return request


def read_noise(file: Path) -> NDArray[np.float32]:
    """Start of the flow from an ``.npy`` file.

    Returns:
        float32, shape (horizon, model_dim).

    Raises:
        ObservationError: the file cannot be read, or holds something else.
    """
    try:
        noise = np.load(file, allow_pickle=False)
    except _FORMAT_ERRORS as error:
        raise ObservationError(f"{file} cannot be read as an .npy file: {error}") from error
    if not isinstance(noise, np.ndarray):
        raise ObservationError(f"{file} holds several arrays, need an .npy file with one")
    _check_numbers(f"{file}: noise", noise, kinds="f", dimensions=2)
    return noise.astype(np.float32)


def write_atomically(file: Path, write: Callable[[IO[bytes]], object]) -> None:
    """Writes a file that is either all there or, after a failure, as it was before.

    Args:
        file: in a folder that exists.
        write: writes the contents to the open file it is given.
    """
    handle, name = tempfile.mkstemp(prefix=f".{file.name}.", suffix=".part", dir=file.parent)
    try:
        with os.fdopen(handle, "wb") as stream:
            write(stream)
            stream.flush()
            os.fsync(stream.fileno())
        os.chmod(name, 0o666 & ~_umask())
        os.replace(name, file)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(name)
        raise


def _read_npz(file: Path) -> dict[str, NDArray[Any]]:
    try:
        with file.open("rb") as stream:
            archive = np.load(stream, allow_pickle=False)
            if isinstance(archive, np.ndarray):
                raise ObservationError(f"{file} holds one array without a name, need an .npz file")
            return {name: archive[name] for name in archive.files}
    except _FORMAT_ERRORS as error:
        raise ObservationError(f"{file} cannot be read as an .npz file: {error}") from error


def _state(file: Path, state: NDArray[Any]) -> NDArray[np.float32]:
    _check_numbers(f"{file}: {STATE}", state, kinds="fiu", dimensions=1)
    return state.astype(np.float32)


def _image(file: Path, name: str, image: NDArray[Any]) -> NDArray[Any]:
    if image.dtype != np.uint8 and image.dtype.kind != "f":
        raise ObservationError(
            f"{file}: {name} must be uint8, or float from 0 to 1, got {image.dtype}"
        )
    _check_numbers(f"{file}: {name}", image, kinds="fu", dimensions=3)
    if image.shape[0] != 3 or 0 in image.shape:
        raise ObservationError(
            f"{file}: {name} must have shape (3, height, width), got {image.shape}"
        )
    return image


def _prompt(file: Path, prompt: NDArray[Any]) -> str:
    if prompt.dtype.kind != "U" or prompt.size != 1:
        raise ObservationError(
            f"{file}: {PROMPT} must be one text, got {prompt.dtype} of shape {prompt.shape}"
        )
    return str(prompt.reshape(())[()])


def _check_numbers(what: str, array: NDArray[Any], *, kinds: str, dimensions: int) -> None:
    if array.dtype.kind not in kinds:
        allowed = "floats" if kinds == "f" else "numbers"
        raise ObservationError(f"{what} must hold {allowed}, got {array.dtype}")
    if array.ndim != dimensions or not array.size:
        raise ObservationError(
            f"{what} must have {dimensions} dimension{'s' * (dimensions > 1)} and not be empty, "
            f"got shape {array.shape}"
        )
    if not np.isfinite(array).all():
        place = tuple(int(i) for i in np.argwhere(~np.isfinite(array))[0])
        raise ObservationError(f"{what} must be finite, got {array[place]} at {place}")


def _umask() -> int:
    mask = os.umask(0o077)
    os.umask(mask)
    return mask
