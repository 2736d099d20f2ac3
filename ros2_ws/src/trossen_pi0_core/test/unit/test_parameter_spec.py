"""How a parameter is described, checked and changed."""

from __future__ import annotations

import array
import dataclasses
import math
from typing import Any

import numpy as np
import pytest

from trossen_pi0_core.errors import ParameterError
from trossen_pi0_core.parameters import ParameterSpec, from_values, replaced, specs
from trossen_pi0_core.parameters.spec import check_address, parameter, parameters


@parameters
class Sample:
    """One parameter of each kind."""

    flag: bool = parameter(False, "A switch.")
    count: int = parameter(3, "A number.", low=1, high=10, live=True)
    gain: float = parameter(0.5, "A gain [1].", low=0.0, high=1.0, live=True)
    weight: float = parameter(math.nan, "NaN: none.", low=-1.0, high=1.0, allow_nan=True, live=True)
    mode: str = parameter("a", "A mode.", choices=("a", "b"), live=True)
    flags: tuple[bool, ...] = parameter((), "Switches.", live=True)
    counts: tuple[int, ...] = parameter((1,), "Numbers.", low=0, live=True)
    gains: tuple[float, ...] = parameter((0.0,), "Gains [1].", high=2.0, live=True)
    names: tuple[str, ...] = parameter(("x",), "Names.", choices=("x", "y"), live=True)

    def check(self) -> None:
        if self.count > 5 and self.mode == "b":
            raise ParameterError("count: at most 5 in mode 'b'")


def test_a_parameter_is_described_in_full() -> None:
    by_name = {spec.name: spec for spec in specs(Sample)}
    assert list(by_name) == [field.name for field in dataclasses.fields(Sample)]
    assert by_name["count"] == ParameterSpec(
        name="count",
        type=int,
        is_list=False,
        default=3,
        description="A number.",
        low=1,
        high=10,
        read_only=False,
    )
    assert by_name["flag"].read_only
    assert by_name["weight"].allow_nan
    assert by_name["names"].choices == ("x", "y")
    assert [by_name[n].type for n in ("flags", "counts", "gains", "names")] == [
        bool,
        int,
        float,
        str,
    ]
    assert all(by_name[n].is_list for n in ("flags", "counts", "gains", "names"))


def test_values_come_out_in_their_declared_types() -> None:
    values = from_values(
        Sample,
        {
            "gain": 1,
            "flags": [True],
            "counts": array.array("q", [4, 5]),
            "gains": np.array([1, 2]),
            "names": ["y", "x"],
            "count": np.int64(7),
        },
    )
    assert values.gain == 1.0
    assert isinstance(values.gain, float)
    assert values.flags == (True,)
    assert values.counts == (4, 5)
    assert values.gains == (1.0, 2.0)
    assert all(type(gain) is float for gain in values.gains)
    assert values.names == ("y", "x")
    assert type(values.count) is int
    assert values.mode == "a"


def test_lists_may_be_empty() -> None:
    values = from_values(Sample, {"counts": [], "names": ()})
    assert (values.counts, values.names) == ((), ())


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"flag": 1}, r"flag: need bool, got 1 \(int\)"),
        ({"flag": "true"}, r"flag: need bool, got 'true' \(str\)"),
        ({"count": 2.0}, r"count: need int, got 2\.0 \(float\)"),
        ({"count": True}, r"count: need int, got True \(bool\)"),
        ({"count": None}, r"count: need int, got None \(NoneType\)"),
        ({"count": 0}, r"count: 0 lies outside \[1, 10\]"),
        ({"count": 11}, r"count: 11 lies outside \[1, 10\]"),
        ({"gain": "1"}, r"gain: need float, got '1' \(str\)"),
        ({"gain": False}, r"gain: need float, got False \(bool\)"),
        ({"gain": 1.5}, r"gain: 1\.5 lies outside \[0, 1\]"),
        ({"gain": math.nan}, r"gain: need a finite number, got nan"),
        ({"gain": math.inf}, r"gain: need a finite number, got inf"),
        ({"weight": -math.inf}, r"weight: need a finite number or NaN, got -inf"),
        ({"weight": 2.0}, r"weight: 2\.0 lies outside \[-1, 1\]"),
        ({"mode": "c"}, r"mode: 'c' is not one of \['a', 'b'\]"),
        ({"mode": 1}, r"mode: need str, got 1 \(int\)"),
        ({"names": ["x", "z"]}, r"names: 'z' is not one of \['x', 'y'\]"),
        ({"names": "x"}, r"names: need a list of str, got 'x'"),
        ({"counts": 1}, r"counts: need a list of int, got 1"),
        ({"counts": [1, -1]}, r"counts: -1 lies outside \[0, any\]"),
        ({"gains": [0.0, math.nan]}, r"gains: need a finite number, got nan"),
        ({"gains": [2.5]}, r"gains: 2\.5 lies outside \[any, 2\]"),
        ({"cuont": 1}, r"unknown parameters \['cuont'\], known are \['flag', 'count'"),
        ({"count": 6, "mode": "b"}, r"count: at most 5 in mode 'b'"),
    ],
)
def test_a_bad_value_is_refused_with_its_name_and_what_is_allowed(
    values: dict[str, Any], message: str
) -> None:
    with pytest.raises(ParameterError, match=message):
        from_values(Sample, values)


def test_nan_means_none_where_it_is_allowed() -> None:
    assert math.isnan(from_values(Sample, {"weight": math.nan}).weight)
    assert from_values(Sample, {"weight": 0}).weight == 0.0


def test_large_ranges_are_written_out() -> None:
    spec = ParameterSpec("seed", int, False, 0, "", low=0, high=2**32 - 1)
    with pytest.raises(ParameterError, match=r"seed: -1 lies outside \[0, 4294967295\]"):
        spec.check(-1)


def test_live_parameters_are_replaced_in_a_copy() -> None:
    before = from_values(Sample, {"flag": True, "gain": 0.25})
    after = replaced(before, {"count": 5, "names": ["y"]})
    assert (before.count, before.names) == (3, ("x",))
    assert (after.flag, after.gain, after.count, after.names) == (True, 0.25, 5, ("y",))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"flag": True}, "flag is fixed while the node is configured"),
        ({"other": 1}, r"unknown parameter 'other', known are \['flag', 'count'"),
        ({"gain": 2.0}, r"gain: 2\.0 lies outside \[0, 1\]"),
        ({"count": 9, "mode": "b"}, "count: at most 5 in mode 'b'"),
    ],
)
def test_a_change_is_refused_as_a_whole(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ParameterError, match=message):
        replaced(Sample(), values)


def test_parameters_cannot_be_assigned() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        Sample().count = 4  # pyright: ignore[reportAttributeAccessIssue]


def test_other_types_cannot_be_parameters() -> None:
    @parameters
    class Wrong:
        value: dict[str, int] = parameter((), "No such type in ROS.")

    with pytest.raises(TypeError, match="value: parameters cannot be of type"):
        specs(Wrong)


def test_an_address_is_checked_by_its_form() -> None:
    for address in ("127.0.0.2", "192.168.1.5", "fe80::1"):
        check_address("host", address)
    for address in ("", "arm.local", "192.168.1", "192.168.1.256"):
        with pytest.raises(ParameterError, match=f"host: '{address}' is no IP address"):
            check_address("host", address)
