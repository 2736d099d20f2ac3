"""openpi's wire format, against the package that defines it."""

from __future__ import annotations

import contextlib

import msgpack
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from openpi_client import msgpack_numpy as theirs

from trossen_pi0_core.openpi import WireFormatError, packb, unpackb

ARRAYS = hnp.arrays(
    dtype=hnp.boolean_dtypes()
    | hnp.integer_dtypes()
    | hnp.unsigned_integer_dtypes()
    | hnp.floating_dtypes()
    | hnp.byte_string_dtypes(min_len=1, max_len=4)
    | hnp.unicode_string_dtypes(min_len=1, max_len=4),
    shape=hnp.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=4),
)
VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False)
    | st.text(max_size=8)
    | ARRAYS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner),
    max_leaves=6,
)


def pack(value) -> bytes:
    packed = msgpack.packb(value)
    assert packed is not None
    return packed


def pack_theirs(value) -> bytes:
    packed = theirs.packb(value)
    assert packed is not None
    return packed


def same(left, right):
    if isinstance(left, np.ndarray) or isinstance(right, np.ndarray):
        assert left.dtype == right.dtype
        assert left.shape == right.shape
        assert left.tobytes() == right.tobytes()
    elif isinstance(left, dict):
        assert left.keys() == right.keys()
        for key, value in left.items():
            same(value, right[key])
    elif isinstance(left, list):
        assert len(left) == len(right)
        for a, b in zip(left, right, strict=True):
            same(a, b)
    else:
        assert left == right


@given(VALUES)
def test_what_is_packed_comes_back(value):
    same(unpackb(packb(value)), value)


@given(VALUES)
def test_bytes_are_those_of_openpi(value):
    assert packb(value) == theirs.packb(value)
    same(theirs.unpackb(packb(value)), value)


def test_an_array_literally():
    packed = packb(np.array([[1, -2]], dtype=np.int16))
    assert msgpack.unpackb(packed) == {
        b"__ndarray__": True,
        b"data": b"\x01\x00\xfe\xff",
        b"dtype": "<i2",
        b"shape": [1, 2],
    }


@pytest.mark.parametrize(
    "scalar",
    [
        np.float32(1.5),
        np.int8(-3),
        np.uint64(2**63),
        np.bool_(True),
        np.str_("ab"),
        np.bytes_(b"a"),
    ],
)
def test_numpy_scalars_keep_their_type(scalar):
    decoded = unpackb(pack_theirs([scalar]))[0]
    assert decoded == scalar
    if type(scalar) not in (np.str_, np.bytes_):  # MessagePack takes those for plain ones
        assert type(decoded) is type(scalar)


def test_arrays_that_are_not_contiguous_keep_their_rows():
    image = np.arange(24, dtype=np.uint8).reshape(2, 4, 3)
    same(unpackb(packb(image.transpose(2, 0, 1))), image.transpose(2, 0, 1).copy())


def test_decoded_arrays_are_read_only():
    with pytest.raises(ValueError, match="read-only"):
        unpackb(packb(np.zeros(3)))[0] = 1.0


def array(**changes):
    fields = {b"__ndarray__": True, b"data": bytes(8), b"dtype": "<f4", b"shape": [2]}
    for key, value in changes.items():
        fields[key.encode()] = value
    return pack({key: value for key, value in fields.items() if value is not None})


def scalar(dtype, data):
    return pack({b"__npgeneric__": True, b"data": data, b"dtype": dtype})


@pytest.mark.parametrize(
    ("message", "says"),
    [
        (b"", "not a MessagePack message"),
        (b"\xc1", "not a MessagePack message"),
        (b"\x81\xa1", "not a MessagePack message"),
        (packb({"a": np.zeros(9)})[:-1], "not a MessagePack message"),
        (packb(1) + b"\x00", "not a MessagePack message"),
        (b"\xdd\xff\xff\xff\xff\x00", "not a MessagePack message"),  # a list of 2**32 - 1
        (pack({1: 2}), "not a MessagePack message"),
        (pack(msgpack.ExtType(5, b"x")), "extension type 5"),
        (pack(msgpack.Timestamp(1)), "timestamps are not part"),
        (array(data=bytes(7)), "needs 8 bytes, got 7 bytes"),
        (array(data="01234567"), "needs 8 bytes, got str"),
        (array(shape=[2**62, 2**62]), "bytes, got 8 bytes"),
        (array(shape=[-1]), "whole numbers from 0"),
        (array(shape=[2.0]), "whole numbers from 0"),
        (array(shape=[True, True]), "whole numbers from 0"),
        (array(shape=2), "must be a list"),
        (array(shape=[1] * 33), "must be a list of up to 32"),
        (array(dtype="|O", shape=[1]), r"dtype '\|O' is not allowed"),
        (array(dtype="<c8", shape=[1]), "dtype '<c8' is not allowed"),
        (array(dtype="|V8", shape=[1]), r"dtype '\|V8' is not allowed"),
        (array(dtype="f4,f4", shape=[1]), "is not the dtype"),
        (array(dtype="<U0", data=b""), "dtype '<U0' is not allowed"),
        (array(dtype="nonsense"), "is not the dtype"),
        (array(dtype="<z9"), "is not the dtype"),
        (array(dtype=4), "is not the dtype"),
        (array(data=None), "an array has the keys"),
        (array(more=1), "an array has the keys"),
        (array(__ndarray__=1), "an array has the keys"),
        (scalar("<f4", "1.0"), "holds a str"),
        (scalar("|i1", 200), "cannot hold 200"),
        (scalar("|b1", 1), "holds a int"),
        (scalar("<c8", 1.0), "is not allowed"),
        (b"\x91" * 40 + b"\x90", "more than 32 containers"),
        (b"\x91" * 5000 + b"\x90", "MessagePack|more than 32"),
    ],
)
def test_malformed_messages_are_refused(message, says):
    with pytest.raises(WireFormatError, match=says):
        unpackb(message)


def test_a_wide_string_scalar_takes_no_memory():
    assert unpackb(scalar("<U400000000", "a")) == "a"


@given(st.binary(max_size=64))
def test_rubbish_is_refused_or_decoded(message):
    with contextlib.suppress(WireFormatError):
        unpackb(message)


@given(st.data())
def test_damaged_messages_are_refused_or_decoded(data):
    message = bytearray(packb({"actions": np.ones((3, 2)), "n": np.float32(2)}))
    at = data.draw(st.integers(0, len(message) - 1))
    message[at] = data.draw(st.integers(0, 255))
    with contextlib.suppress(WireFormatError):
        unpackb(bytes(message))


@pytest.mark.parametrize(
    "value", [object(), {"a": {1j}}, np.array([None]), np.array([1j]), np.zeros(1, "i4,f4"), 2**64]
)
def test_values_that_the_format_lacks_are_refused(value):
    with pytest.raises(WireFormatError, match="cannot be"):
        packb(value)
