"""Message definitions and type hashes from the installed ``.msg`` files. ROS-free."""

from __future__ import annotations

import functools
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from rosbags.interfaces import Nodetype
from rosbags.typesys import TypesysError, get_types_from_msg

from trossen_pi0_core.errors import EpisodeError

_SEPARATOR = "=" * 80

COMPRESSED_VIDEO = "foxglove_msgs/msg/CompressedVideo"
"""Type of H.264 pictures, as Foxglove knows it; ROS has none of its own."""

BUILT_IN = {
    COMPRESSED_VIDEO: (
        "# One picture of a compressed video stream.\n"
        "builtin_interfaces/Time timestamp   # of the picture\n"
        "string frame_id                     # of the camera\n"
        "uint8[] data                        # one picture, Annex B; key ones begin with SPS\n"
        "string format                       # h264\n"
    )
}
"""Definitions of types that are not part of ROS."""


def prefixes() -> tuple[Path, ...]:
    """Where ROS packages are installed, in the order that they are looked for."""
    return tuple(Path(p) for p in os.environ.get("AMENT_PREFIX_PATH", "").split(os.pathsep) if p)


def full_definition(name: str, places: tuple[Path, ...] | None = None) -> str:
    """The type's ``.msg`` text, followed by those of all types in it, as MCAP's ``ros2msg`` wants.

    Args:
        name: such as ``sensor_msgs/msg/Image``.
        places: where packages are installed; None: ``prefixes()``.

    Raises:
        EpisodeError: a definition is not installed or cannot be read.
    """
    return _full_definition(name, prefixes() if places is None else places)


@functools.lru_cache(maxsize=256)
def _full_definition(name: str, places: tuple[Path, ...]) -> str:
    texts = {name: _text(name, places)}
    waiting = [name]
    while waiting:
        for part in _parts(waiting[0], texts[waiting[0]]):
            if part not in texts:
                texts[part] = _text(part, places)
                waiting.append(part)
        waiting.pop(0)
    first, *others = texts
    pieces = [texts[first]]
    for part in others:
        package, _, short = _split(part)
        pieces.append(f"{_SEPARATOR}\nMSG: {package}/{short}\n{texts[part]}")
    return "\n".join(pieces)


def type_hash(name: str, places: tuple[Path, ...] | None = None) -> str:
    """The type's RIHS01 hash; empty when it is not installed with its description."""
    package, kind, short = _split(name)
    for place in prefixes() if places is None else places:
        path = place / "share" / package / kind / f"{short}.json"
        if path.is_file():
            return _hash_in(path, name)
    return ""


@functools.lru_cache(maxsize=256)
def _hash_in(path: Path, name: str) -> str:
    try:
        hashes = json.loads(path.read_text(encoding="utf-8")).get("type_hashes", [])
    except (OSError, ValueError) as error:
        raise EpisodeError(f"cannot read the description of {name}, {path}: {error}") from error
    return next((h["hash_string"] for h in hashes if h["type_name"] == name), "")


def _split(name: str) -> tuple[str, str, str]:
    parts = name.split("/")
    if len(parts) != 3 or not all(part.isidentifier() for part in parts) or parts[1] != "msg":
        raise EpisodeError(f"a message type is such as 'sensor_msgs/msg/Image', got {name!r}")
    return parts[0], parts[1], parts[2]


def _text(name: str, places: tuple[Path, ...]) -> str:
    if name in BUILT_IN:
        return BUILT_IN[name]
    package, kind, short = _split(name)
    for place in places:
        path = place / "share" / package / kind / f"{short}.msg"
        if path.is_file():
            return path.read_text(encoding="utf-8")
    raise EpisodeError(
        f"the definition of {name} is not installed: there is no share/{package}/{kind}/"
        f"{short}.msg under {[str(place) for place in places]}"
    )


def _parts(name: str, text: str) -> Iterator[str]:
    """Names of the types of a definition's fields, each as often as it is used."""
    try:
        types = get_types_from_msg(text, name)
    except TypesysError as error:
        raise EpisodeError(f"the definition of {name} cannot be read: {error}") from error
    for _, description in types[name][1]:
        inner: Any = description
        while inner[0] in (Nodetype.ARRAY, Nodetype.SEQUENCE):
            inner = inner[1][0]
        if inner[0] == Nodetype.NAME:
            yield inner[1]
