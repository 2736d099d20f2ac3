"""openpi's wire format: MessagePack with numpy arrays and scalars (``openpi_client``).

An array is the map ``{b"__ndarray__": True, b"data": bytes, b"dtype": dtype.str, b"shape": list}``
in C order, a numpy scalar ``{b"__npgeneric__": True, b"data": item, b"dtype": dtype.str}``.
Decoding trusts nothing: every size is checked before memory of that size is touched.
"""

from __future__ import annotations

import math
import re
from typing import Any

import msgpack
import numpy as np

from trossen_pi0_core.errors import TrossenPi0Error

MAX_NESTING = 32
"""Containers inside one another that a message may hold."""

_MAX_DIMENSIONS = 32
_REFUSED_KINDS = "VOc"
_DTYPE = re.compile(r"[<>|=]?[A-Za-z][0-9]*(\[[A-Za-z0-9]+\])?")
_ARRAY_KEYS = {b"__ndarray__", b"data", b"dtype", b"shape"}
_SCALAR_KEYS = {b"__npgeneric__", b"data", b"dtype"}
_SCALAR_TYPES: dict[str, tuple[type, ...]] = {
    "b": (bool,),
    "i": (int,),
    "u": (int,),
    "f": (float,),
    "S": (bytes,),
    "U": (str,),
    "m": (int,),
    "M": (int,),
}


class WireFormatError(TrossenPi0Error, ValueError):
    """A message is not openpi's MessagePack, or a value cannot be sent in it."""


def packb(value: Any) -> bytes:
    """Packs plain Python values, numpy arrays and numpy scalars.

    Raises:
        WireFormatError: a type or dtype that the format does not have.
    """
    try:
        packed: Any = msgpack.packb(value, default=_encode)
    except WireFormatError:
        raise
    except (ValueError, TypeError, OverflowError) as error:
        raise WireFormatError(f"cannot be packed: {error}") from error
    return packed


def unpackb(data: bytes) -> Any:
    """Unpacks one message; arrays come back read-only, sharing the message's memory.

    Raises:
        WireFormatError: no such message, or it is not all of ``data``.
    """
    try:
        value = msgpack.unpackb(data, object_hook=_decode, ext_hook=_refuse_extension)
    except WireFormatError:
        raise
    except (msgpack.UnpackException, ValueError, TypeError, OverflowError) as error:
        raise WireFormatError(
            f"{len(data)} bytes are not a MessagePack message: {error or type(error).__name__}"
        ) from error
    _check(value)
    return value


def _encode(value: Any) -> dict[bytes, Any]:
    if not isinstance(value, (np.ndarray, np.generic)):
        raise WireFormatError(f"values of type {type(value).__name__} cannot be sent")
    if value.dtype.kind in _REFUSED_KINDS:
        raise WireFormatError(
            f"dtype {value.dtype} cannot be sent; structured, object and complex cannot"
        )
    if isinstance(value, np.ndarray):
        return {
            b"__ndarray__": True,
            b"data": value.tobytes(),
            b"dtype": value.dtype.str,
            b"shape": value.shape,
        }
    return {b"__npgeneric__": True, b"data": value.item(), b"dtype": value.dtype.str}


def _decode(fields: dict[Any, Any]) -> Any:
    if b"__ndarray__" in fields:
        return _array(fields)
    if b"__npgeneric__" in fields:
        return _scalar(fields)
    return fields


def _array(fields: dict[Any, Any]) -> np.ndarray[Any, Any]:
    if set(fields) != _ARRAY_KEYS or fields[b"__ndarray__"] is not True:
        raise WireFormatError(f"an array has the keys {sorted(map(str, fields))}")
    data, shape = fields[b"data"], fields[b"shape"]
    dtype = _dtype(fields[b"dtype"])
    if not isinstance(shape, list) or len(shape) > _MAX_DIMENSIONS:
        raise WireFormatError(f"an array's shape must be a list of up to {_MAX_DIMENSIONS} sizes")
    if any(type(size) is not int or size < 0 for size in shape):
        raise WireFormatError(f"an array's shape must hold whole numbers from 0, got {shape!r:.80}")
    needed = math.prod(shape) * dtype.itemsize
    if not isinstance(data, bytes) or len(data) != needed:
        given = f"{len(data)} bytes" if isinstance(data, bytes) else type(data).__name__
        raise WireFormatError(f"an array {dtype} {shape} needs {needed} bytes, got {given}")
    return np.ndarray(shape=tuple(shape), dtype=dtype, buffer=data)


def _scalar(fields: dict[Any, Any]) -> Any:
    if set(fields) != _SCALAR_KEYS or fields[b"__npgeneric__"] is not True:
        raise WireFormatError(f"a numpy scalar has the keys {sorted(map(str, fields))}")
    dtype, item = _dtype(fields[b"dtype"]), fields[b"data"]
    if type(item) not in _SCALAR_TYPES[dtype.kind]:
        raise WireFormatError(f"a numpy scalar {dtype} holds a {type(item).__name__}")
    if dtype.kind in "mM":
        return np.array(item, dtype=dtype)[()]
    if dtype.kind in "iu" and not np.iinfo(dtype).min <= item <= np.iinfo(dtype).max:
        raise WireFormatError(f"a numpy scalar {dtype} cannot hold {item}")
    with np.errstate(over="ignore"):  # a float beyond the dtype is infinite in it
        return dtype.type(item)


def _dtype(text: Any) -> np.dtype[Any]:
    if not isinstance(text, str) or not _DTYPE.fullmatch(text):
        raise WireFormatError(f"{text!r:.40} is not the dtype of an array")
    try:
        dtype = np.dtype(text)
    except TypeError as error:
        raise WireFormatError(f"{text!r:.40} is not the dtype of an array: {error}") from error
    if dtype.kind not in _SCALAR_TYPES or not dtype.itemsize:
        raise WireFormatError(f"dtype {text!r} is not allowed")
    return dtype


def _refuse_extension(code: int, data: bytes) -> Any:
    raise WireFormatError(f"extension type {code} ({len(data)} bytes) is not part of the format")


def _check(value: Any) -> None:
    """Refuses what MessagePack decodes by itself and openpi's format does not have."""
    level = [value]
    for _ in range(MAX_NESTING + 1):
        if any(isinstance(item, msgpack.Timestamp) for item in level):
            raise WireFormatError("timestamps are not part of the format")
        level = [child for item in level for child in _children(item)]
        if not level:
            return
    raise WireFormatError(f"more than {MAX_NESTING} containers lie inside one another")


def _children(item: Any) -> Any:
    if isinstance(item, dict):
        return item.values()
    return item if isinstance(item, list) else ()
