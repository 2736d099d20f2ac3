"""Reads the parts of a request in openpi's ALOHA layout. What is malformed is refused."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trossen_pi0_core.contract import CAMERAS, LARGEST_TARGET, ActionPrefix
from trossen_pi0_core.errors import ObservationError
from trossen_pi0_core.images import picture_from_request

MAX_PROMPT_CHARACTERS = 100_000
"""A longer text is no instruction, and takes long to tokenise."""


def request_state(request: Mapping[str, Any], size: int) -> NDArray[np.float64]:
    """The state of a request.

    Args:
        request: ``state``: numbers, shape (size,) [rad; m for carriages].
        size: joints on the wire.

    Returns:
        float64, shape (size,), finite.

    Raises:
        ObservationError: missing, of another type or length, not finite, or beyond any robot.
    """
    if (given := request.get("state")) is None:
        raise ObservationError(f"the request needs 'state', its keys are {_names(request)}")
    try:
        state = np.asarray(given)
    except ValueError as error:
        raise ObservationError(f"'state' must be {size} numbers: {error}") from error
    if state.dtype.kind not in "fiu" or state.shape != (size,):
        raise ObservationError(
            f"'state' must be {size} numbers, got {state.dtype} of shape {state.shape}"
        )
    if (bad := np.flatnonzero(~(np.abs(state.astype(np.float64)) <= LARGEST_TARGET))).size:
        raise ObservationError(
            f"'state' must be finite and within +-{LARGEST_TARGET:g}, "
            f"got {state[bad[0]]} at index {bad[0]}"
        )
    return state.astype(np.float64)


def request_pictures(
    request: Mapping[str, Any], cameras: tuple[str, ...]
) -> dict[str, NDArray[np.uint8]]:
    """The pictures of a request that the model takes.

    Args:
        request: ``images``: camera -> picture (see
            :func:`trossen_pi0_core.images.picture_from_request`).
        cameras: that the model takes; the first must be there. Other cameras of the kit are
            accepted and dropped, as openpi does with ``cam_low``.

    Returns:
        Camera -> uint8 RGB, shape (h, w, 3).

    Raises:
        ObservationError: no pictures, the first camera missing, or an unknown camera.
        ImageError: a malformed picture, also of a camera that is dropped.
    """
    images = request.get("images")
    if not isinstance(images, Mapping):
        given = "none" if images is None else type(images).__name__
        raise ObservationError(
            f"the request needs 'images', a map of camera names to pictures, got {given}"
        )
    known = (*CAMERAS, *(camera for camera in cameras if camera not in CAMERAS))
    if unknown := [camera for camera in images if camera not in known]:
        raise ObservationError(f"unknown cameras {unknown}, known are {list(known)}")
    if cameras[0] not in images:
        raise ObservationError(
            f"the request needs a picture of {cameras[0]}, got {_names(images) or 'none'}"
        )
    pictures = {name: picture_from_request(image, name) for name, image in images.items()}
    return {camera: pictures[camera] for camera in cameras if camera in pictures}


def request_prompt(request: Mapping[str, Any], default: str | None) -> str:
    """The prompt of a request.

    Args:
        request: ``prompt``: text, or an array of one.
        default: taken where the request has none or a blank one; None: there is none, and a blank
            prompt goes to the model as it is.

    Returns:
        The text.

    Raises:
        ObservationError: missing without a default, no text, or far too long.
    """
    prompt = request.get("prompt")
    if isinstance(prompt, np.ndarray) and prompt.ndim == 0:
        prompt = prompt.item()
    if prompt is None and default is None:
        raise ObservationError(
            "the request needs 'prompt': the policy has no default prompt, "
            f"the request's keys are {_names(request)}"
        )
    if prompt is not None and not isinstance(prompt, str):
        raise ObservationError(f"'prompt' must be text, got {type(prompt).__name__}")
    if prompt is None or (default is not None and not prompt.strip()):
        prompt = default or ""
    if len(prompt) > MAX_PROMPT_CHARACTERS:
        raise ObservationError(
            f"'prompt' must have at most {MAX_PROMPT_CHARACTERS} characters, got {len(prompt)}"
        )
    try:
        prompt.encode()
    except UnicodeEncodeError as error:
        raise ObservationError(f"'prompt' must be Unicode text: {error}") from error
    return prompt


def request_prefix(request: Mapping[str, Any], size: int) -> ActionPrefix | None:
    """The rows that the answer shall agree with (real-time chunking).

    Args:
        request: ``rtc``, if there are any: ``prefix``: numbers, shape (rows >= 1, size), absolute
            [rad; m for carriages]; ``frozen``: how many of them are executed whatever the answer
            is, from 0.
        size: joints on the wire.

    Returns:
        The prefix; None without ``rtc``.

    Raises:
        ObservationError: malformed, not finite, beyond any robot, or more frozen rows than there
            are.
    """
    if (given := request.get("rtc")) is None:
        return None
    if not isinstance(given, Mapping) or set(given) != {"prefix", "frozen"}:
        found = _names(given) if isinstance(given, Mapping) else type(given).__name__
        raise ObservationError(f"'rtc' must be a map of 'prefix' and 'frozen', got {found}")
    try:
        rows = np.asarray(given["prefix"])
    except ValueError as error:
        raise ObservationError(
            f"the prefix in 'rtc' must be rows of {size} numbers: {error}"
        ) from error
    if rows.dtype.kind not in "fiu" or rows.ndim != 2 or not len(rows) or rows.shape[1] != size:
        raise ObservationError(
            f"the prefix in 'rtc' must be numbers of shape (rows >= 1, {size}), "
            f"got {rows.dtype} of shape {rows.shape}"
        )
    rows = rows.astype(np.float64)
    if (bad := np.argwhere(~(np.abs(rows) <= LARGEST_TARGET))).size:
        row, column = bad[0]
        raise ObservationError(
            f"the prefix in 'rtc' must be finite and within +-{LARGEST_TARGET:g}, "
            f"got {rows[row, column]} at index {column} of row {row}"
        )
    frozen = given["frozen"]
    if isinstance(frozen, bool) or not isinstance(frozen, (int, np.integer)):
        raise ObservationError(
            f"'frozen' in 'rtc' must be a whole number, got {type(frozen).__name__}"
        )
    return ActionPrefix(rows, int(frozen))


def _names(mapping: Mapping[Any, Any]) -> list[str]:
    return sorted(map(str, mapping))
