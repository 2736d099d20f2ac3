"""Parameter dataclasses on a node, as YAML files set them and the parameter services show them."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from rcl_interfaces.msg import FloatingPointRange, IntegerRange, ParameterDescriptor, ParameterType
from rcl_interfaces.srv import DescribeParameters, GetParameters, SetParameters
from rclpy.node import Node
from rclpy.parameter import Parameter, parameter_value_to_python

from trossen_pi0_core.errors import ParameterError
from trossen_pi0_core.parameters import (
    ArmControllerParameters,
    PolicyParameters,
    SimParameters,
)
from trossen_pi0_core.parameters.spec import parameter, parameters
from trossen_pi0_ros.parameters import NodeParameters

if TYPE_CHECKING:
    from .conftest import Ros


@parameters
class Settings:
    """One parameter of each kind."""

    fixed: bool = parameter(False, "A switch.")
    count: int = parameter(3, "A number.", low=1, high=10, live=True)
    gain: float = parameter(0.5, "A gain [1].", low=0.0, high=1.0, live=True)
    open_end: float = parameter(1.0, "Without an upper end [s].", low=0.0, live=True)
    weight: float = parameter(math.nan, "A weight.", low=-1.0, high=1.0, allow_nan=True, live=True)
    mode: str = parameter("a", "A mode.", choices=("a", "b"), live=True)
    flags: tuple[bool, ...] = parameter((), "Switches.", live=True)
    counts: tuple[int, ...] = parameter((1, 2), "Numbers.", low=0, high=9, live=True)
    gains: tuple[float, ...] = parameter((0.5,), "Gains [1].", live=True)
    names: tuple[str, ...] = parameter((), "Names.", live=True)

    def check(self) -> None:
        """Checks what concerns several parameters together."""
        if self.count > 5 and self.mode == "b":
            raise ParameterError("count: at most 5 in mode 'b'")


class Rig:
    """A node with these settings and clients of its parameter services."""

    def __init__(self, ros: Ros, *words: str) -> None:
        self._ros = ros
        self.changes: list[Settings] = []
        self.node = Node("settings", context=ros.context, cli_args=["--ros-args", *words])
        ros.add(self.node)
        self.checked: list[tuple[int, int]] = []
        self.parameters = NodeParameters(self.node, Settings, self.changes.append, self._check)
        tester = ros.node()
        self._describe = tester.create_client(DescribeParameters, "/settings/describe_parameters")
        self._get = tester.create_client(GetParameters, "/settings/get_parameters")
        self._set = tester.create_client(SetParameters, "/settings/set_parameters")

    def _check(self, present: Settings, proposed: Settings) -> None:
        """What only the running node knows: at present no more than 7."""
        self.checked.append((present.count, proposed.count))
        if proposed.count > 7:
            raise ParameterError(f"count: at most 7 now, got {proposed.count}")

    @property
    def value(self) -> Settings:
        return self.parameters.value

    def describe(self, name: str) -> ParameterDescriptor:
        return self._ros.call(self._describe, DescribeParameters.Request(names=[name])).descriptors[
            0
        ]

    def get(self, name: str) -> Any:
        answer = self._ros.call(self._get, GetParameters.Request(names=[name]))
        return parameter_value_to_python(answer.values[0])

    def set(self, **values: Any) -> list[str]:
        """Sets parameters one by one; why each was refused, empty where it was not."""
        messages = [
            value.to_parameter_msg()
            if isinstance(value, Parameter)
            else Parameter(name, value=value).to_parameter_msg()
            for name, value in values.items()
        ]
        answer = self._ros.call(self._set, SetParameters.Request(parameters=messages))
        assert all(result.successful or result.reason for result in answer.results)
        return [result.reason for result in answer.results]


def test_defaults_are_the_dataclass_s(ros: Ros) -> None:
    rig = Rig(ros)
    assert math.isnan(rig.value.weight)
    assert rig.value.counts == (1, 2)
    assert rig.value.names == ()
    assert rig.get("count") == 3
    assert list(rig.get("counts")) == [1, 2]
    assert math.isnan(rig.get("weight"))


def test_numbers_are_described_with_their_ranges(ros: Ros) -> None:
    rig = Rig(ros)
    count = rig.describe("count")
    assert count.description == "A number."
    assert count.type == ParameterType.PARAMETER_INTEGER
    assert count.integer_range == [IntegerRange(from_value=1, to_value=10)]
    assert not count.read_only
    gain = rig.describe("gain")
    assert gain.description == "A gain [1]."
    assert gain.floating_point_range == [FloatingPointRange(from_value=0.0, to_value=1.0)]
    assert gain.type == ParameterType.PARAMETER_DOUBLE


def test_what_is_typed_keeps_the_declared_type(ros: Ros) -> None:
    # `ros2 param set` sends 1 as an integer, and nan as a string.
    rig = Rig(ros)
    assert rig.set(gain=1, weight=0.5) == ["", ""]
    assert rig.describe("gain").type == ParameterType.PARAMETER_DOUBLE
    assert (rig.get("gain"), type(rig.get("gain"))) == (1.0, float)
    assert rig.set(weight="NaN") == [""]
    assert math.isnan(rig.value.weight)
    assert math.isnan(rig.get("weight"))
    assert rig.describe("weight").type == ParameterType.PARAMETER_DOUBLE
    refused = rig.set(gain="nan", weight="none", mode="nan")
    assert "gain: need float, got 'nan'" in refused[0]
    assert "weight: need float, got 'none'" in refused[1]
    assert "mode: 'nan' is not one of" in refused[2]
    assert rig.value.gain == 1.0


def test_a_running_node_can_refuse_what_fits_the_dataclass(ros: Ros) -> None:
    rig = Rig(ros)
    assert rig.set(count=8) == ["count: at most 7 now, got 8"]
    assert (rig.get("count"), rig.value.count, rig.changes) == (3, 3, [])
    assert rig.set(count=7) == [""]
    assert rig.checked == [(3, 8), (3, 7)]
    assert rig.set(count=11) != [""]
    assert rig.checked == [(3, 8), (3, 7)]  # the dataclass comes first


def test_what_is_fixed_or_limited_in_other_ways_says_so(ros: Ros) -> None:
    rig = Rig(ros)
    assert rig.describe("fixed").read_only
    assert rig.describe("mode").additional_constraints == "one of ['a', 'b']"
    assert rig.describe("weight").additional_constraints == "[-1, 1]; NaN: none"
    assert rig.describe("open_end").additional_constraints == "[0, any]"
    assert rig.describe("counts").additional_constraints == "each in [0, 9]"
    assert rig.describe("gain").additional_constraints == ""
    assert rig.describe("names").type == ParameterType.PARAMETER_STRING_ARRAY
    assert rig.describe("flags").type == ParameterType.PARAMETER_BOOL_ARRAY


@pytest.mark.parametrize("cls", [ArmControllerParameters, PolicyParameters, SimParameters])
def test_every_node_s_parameters_can_be_declared(ros: Ros, cls: type) -> None:
    node = Node("any", context=ros.context)
    ros.add(node)
    value = NodeParameters(node, cls).value
    for name, default in vars(cls()).items():
        assert getattr(value, name) == default or math.isnan(default)
        assert node.describe_parameter(name).description


@pytest.mark.parametrize(
    ("words", "name", "value"),
    [
        (("gain:=1",), "gain", 1.0),
        (("gain:=0.25",), "gain", 0.25),
        (("weight:=.nan",), "weight", math.nan),
        (("fixed:=true",), "fixed", True),
        (("counts:=[4,5,6]",), "counts", (4, 5, 6)),
        (("counts:=[]",), "counts", ()),
        (("gains:=[0.1,0.2]",), "gains", (0.1, 0.2)),
        (("gains:=[1,2]",), "gains", (1.0, 2.0)),
        (("names:=[x,z]",), "names", ("x", "z")),
        (("names:=['']",), "names", ("",)),
        (("flags:=[true,false]",), "flags", (True, False)),
    ],
)
def test_values_given_at_start_take_the_default_s_place(
    ros: Ros, words: tuple[str, ...], name: str, value: Any
) -> None:
    rig = Rig(ros, *(word for pair in words for word in ("-p", pair)))
    given = getattr(rig.value, name)
    assert given == value or (math.isnan(given) and math.isnan(value))
    assert type(given) is type(value)
    shown = rig.get(name)
    if isinstance(value, tuple):
        assert tuple(shown) == value


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("gain:=1.5", r"gain: 1\.5 lies outside \[0, 1\]"),
        ("gain:=2", r"gain: 2\.0 lies outside \[0, 1\]"),
        ("gain:=text", r"gain: need float, got 'text' \(str\)"),
        ("count:=2.0", r"count: need int, got 2\.0 \(float\)"),
        ("mode:=c", r"mode: 'c' is not one of \['a', 'b'\]"),
        ("counts:=[1,10]", r"counts: 10 lies outside \[0, 9\]"),
        ("counts:=7", r"counts: need a list of int, got 7"),
        ("names:=[1,2]", r"names: need str, got 1 \(int\)"),
        ("fixed:=1", r"fixed: need bool, got 1 \(int\)"),
    ],
)
def test_a_bad_value_at_start_is_an_error(ros: Ros, word: str, message: str) -> None:
    with pytest.raises(ParameterError, match=message):
        Rig(ros, "-p", word)


def test_values_that_do_not_fit_together_are_an_error(ros: Ros) -> None:
    with pytest.raises(ParameterError, match="count: at most 5 in mode 'b'"):
        Rig(ros, "-p", "count:=6", "-p", "mode:=b")


def yaml(folder: Path, text: str) -> tuple[str, str]:
    path = folder / "settings.yaml"
    path.write_text(text)
    return "--params-file", str(path)


def test_values_come_from_yaml_files(ros: Ros, tmp_path: Path) -> None:
    text = "/**:\n  ros__parameters:\n    gain: 1\n    names: []\n    gains: [1.0, 0.5]\n"
    rig = Rig(ros, *yaml(tmp_path, text))
    assert (rig.value.gain, rig.value.names, rig.value.gains) == (1.0, (), (1.0, 0.5))


@pytest.mark.parametrize("key", ["/**", "settings", "/settings"])
def test_a_yaml_file_with_an_unknown_parameter_is_an_error(
    ros: Ros, tmp_path: Path, key: str
) -> None:
    text = f"{key}:\n  ros__parameters:\n    gain: 1.0\n    gian: 0.5\n    more: {{deep: 1}}\n"
    with pytest.raises(ParameterError) as caught:
        Rig(ros, *yaml(tmp_path, text))
    assert str(caught.value) == (
        "unknown parameters ['gian', 'more.deep'] of node 'settings'; did you mean 'gain'?; known "
        "are ['count', 'counts', 'fixed', 'flags', 'gain', 'gains', 'mode', 'names', 'open_end', "
        "'weight']"
    )


def test_parameters_of_other_nodes_and_of_every_node_are_no_error(ros: Ros, tmp_path: Path) -> None:
    text = (
        "other:\n  ros__parameters:\n    strange: 1\n"
        "settings:\n  ros__parameters:\n    use_sim_time: false\n"
        "    start_type_description_service: false\n"
        "    qos_overrides: {/topic: {publisher: {depth: 3}}}\n"
    )
    assert Rig(ros, *yaml(tmp_path, text)).value.count == 3


def test_a_live_change_makes_a_new_value_and_is_announced_once(ros: Ros) -> None:
    rig = Rig(ros)
    before = rig.value
    assert rig.set(gain=0.75) == [""]
    assert before.gain == 0.5
    assert rig.value.gain == 0.75
    assert rig.changes == [rig.value]
    assert rig.get("gain") == 0.75


@pytest.mark.parametrize(
    ("name", "given", "value"),
    [
        ("gain", 1, 1.0),
        ("weight", math.nan, math.nan),
        ("weight", 0, 0.0),
        ("names", ["x"], ("x",)),
        ("names", Parameter("names", Parameter.Type.STRING_ARRAY, []), ()),
        ("counts", [], ()),
        ("counts", [7, 8], (7, 8)),
        ("gains", [1.0, 2.0], (1.0, 2.0)),
        ("flags", [True], (True,)),
    ],
)
def test_live_changes_of_each_kind(ros: Ros, name: str, given: Any, value: Any) -> None:
    rig = Rig(ros)
    assert rig.set(**{name: given}) == [""]
    now = getattr(rig.value, name)
    assert now == value or (math.isnan(now) and math.isnan(value))
    assert type(now) is type(value)
    assert len(rig.changes) == 1


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ({"gain": 2.0}, "gain"),
        ({"gain": 2}, "gain out of range"),
        ({"gain": "1"}, "gain: need float, got '1' (str)"),
        ({"weight": math.inf}, "weight: need a finite number or NaN, got inf"),
        ({"weight": 3.0}, "weight: 3.0 lies outside [-1, 1]"),
        ({"count": 11}, "count"),
        ({"mode": "c"}, "mode: 'c' is not one of ['a', 'b']"),
        ({"counts": [1, -1]}, "counts: -1 lies outside [0, 9]"),
        ({"names": "x"}, "names: need a list of str, got 'x'"),
        ({"fixed": True}, "read-only"),
        ({"nonsense": 1}, "undeclared parameter"),
    ],
)
def test_a_refused_change_leaves_the_old_value_and_says_why(
    ros: Ros, values: dict[str, Any], reason: str
) -> None:
    rig = Rig(ros)
    before = rig.value
    (said,) = rig.set(**values)
    assert reason in said
    assert rig.value is before
    assert rig.changes == []
    assert rig.set(gain=0.25) == [""]  # the node is still there
    assert rig.value.gain == 0.25


def test_each_of_several_changes_stands_for_itself(ros: Ros) -> None:
    rig = Rig(ros)
    reasons = rig.set(count=6, mode="b", gain=0.1)
    assert reasons == ["", "count: at most 5 in mode 'b'", ""]
    assert (rig.value.count, rig.value.mode, rig.value.gain) == (6, "a", 0.1)
    assert len(rig.changes) == 2


def test_changes_together_are_checked_together(ros: Ros) -> None:
    rig = Rig(ros)
    assert rig.set(count=6) == [""]
    both = [Parameter("count", value=2), Parameter("mode", value="b")]
    assert rig.node.set_parameters_atomically(both).successful
    assert (rig.value.count, rig.value.mode) == (2, "b")
    refused = rig.node.set_parameters_atomically([Parameter("count", value=9), both[1]])
    assert refused.reason == "count: at most 5 in mode 'b'"
    assert rig.value.count == 2


def test_other_parameters_of_the_node_are_left_alone(ros: Ros) -> None:
    rig = Rig(ros)
    rig.node.declare_parameter("of_somebody_else", 1)
    assert rig.set(of_somebody_else=5) == [""]
    assert rig.changes == []
