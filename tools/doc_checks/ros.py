"""``ros2`` command lines, checked against the suite's nodes, topics and messages."""

from __future__ import annotations

import functools
import importlib
import re
from collections.abc import Callable, Sequence
from typing import Any

import yaml

from doc_checks.programs import ROOT, is_placeholder, verify_arguments, without_dots
from references.commands import launch_files, module_arguments
from references.endpoints import Endpoint, endpoints
from references.meanings import UNMANAGED
from trossen_pi0_bringup.arguments import NODE_PARAMETERS, parse_text
from trossen_pi0_core.contract import CAMERAS
from trossen_pi0_core.errors import TrossenPi0Error
from trossen_pi0_core.parameters import ParameterSpec, specs

PACKAGE = "trossen_pi0_bringup"
_OURS = "trossen_pi0_"

EXECUTABLES = {
    "arm_controller": "arm_controller",
    "leader_arms": "leader_arms",
    "policy_node": "policy",
    "recorder_node": "recorder",
    "replay_node": "replay",
    "sim_node": "sim",
    "sim_leaders": "sim_leaders",
}
"""Executable -> node that it runs."""

_FLAGS = {
    "--feedback": 0, "-f": 0, "--once": 0, "--no-arr": 0, "--verbose": 0, "-v": 0, "-t": 0,
    "--field": 1, "--storage": 1, "-s": 1, "--output": 1, "-o": 1, "--topics": 0, "--csv": 0,
    "--filter": 1, "--window": 1, "-w": 1, "--rate": 1, "-r": 1, "--times": 1, "--all": 0,
    "-a": 0, "--qos-reliability": 1, "--qos-durability": 1, "--qos-profile": 1, "--clock": 0,
    "--show-args": 0, "--show-types": 0, "--no-daemon": 0, "--spin-time": 1, "--truncate-length": 1,
    "--flow-style": 0, "--timeout": 1, "-1": 0, "-p": 0,
}  # fmt: skip
"""Options of the command line that documentation may use -> how many words follow."""

_TRANSITIONS = ("configure", "activate", "deactivate", "cleanup", "shutdown")


def verify_ros2(words: Sequence[str]) -> None:
    """Checks ``ros2 words``.

    Raises:
        ValueError: what would not work, and why.
    """
    words = without_dots(words)
    if not words:  # the program as a word
        return
    verb = tuple(words[:2])
    if verb[:1] in _WHOLE:
        _WHOLE[verb[:1]](words[1:])
        return
    if verb not in _VERBS:
        raise ValueError(f"ros2 {' '.join(verb)} is not known, known are {list(_VERBS)}")
    _VERBS[verb](words[2:])


@functools.cache
def surface() -> dict[tuple[str, str], Endpoint]:
    """(topic, service or action; name) -> its end."""
    kinds = {"publisher": "topic", "subscription": "topic"}
    found: dict[tuple[str, str], Endpoint] = {}
    for each in endpoints(ROOT):
        for camera in CAMERAS if "<camera>" in each.name else ("",):
            name = each.name.replace("<camera>", camera)
            found.setdefault((kinds.get(each.kind, each.kind), name), each)
    return found


def _find(kind: str, name: str, given_type: str = "") -> str:
    """The full type of a topic, service or action."""
    known = surface()
    if (kind, name) not in known:
        names = sorted(n for k, n in known if k == kind)
        raise ValueError(f"there is no {kind} {name!r}, there are {names}")
    actual = known[kind, name].type
    if given_type and given_type != actual:
        raise ValueError(f"{name} has type {actual}, not {given_type}")
    return actual


def message_class(type_name: str) -> Any:
    """The class of a type such as ``std_srvs/srv/Trigger``.

    Raises:
        ValueError: there is none.
    """
    package, sort, name = type_name.split("/")
    try:
        return getattr(importlib.import_module(f"{package}.{sort}"), name)
    except (ImportError, AttributeError) as error:
        raise ValueError(f"there is no type {type_name}") from error


def message_of(cls: Any, values: Any) -> Any:
    """A message with the values of a mapping, as ``ros2`` reads them.

    Raises:
        ValueError: a field that there is not, or a value of another type.
    """
    if not isinstance(values, dict):
        raise ValueError(  # noqa: TRY004 - the text is wrong, not the program
            f"need a mapping of {cls.__name__}'s fields, got {values!r}"
        )
    kinds = cls.get_fields_and_field_types()
    fields: dict[str, Any] = {}
    for name, value in values.items():
        if name not in kinds:
            raise ValueError(f"{cls.__name__} has no field {name!r}, it has {list(kinds)}")
        kind = kinds[name]
        if "/" in kind and "sequence" not in kind:
            package, _, inner = kind.partition("/")
            fields[name] = message_of(message_class(f"{package}/msg/{inner}"), value)
        elif kind in ("double", "float"):
            fields[name] = float(value)
        elif kind in ("sequence<double>", "sequence<float>"):
            fields[name] = [float(item) for item in value]
        else:
            fields[name] = value
    try:
        return cls(check_fields=True, **fields)
    except AssertionError as error:
        raise ValueError(f"{cls.__name__}: {error}") from error


def split_options(words: Sequence[str]) -> tuple[list[str], dict[str, str]]:
    """Words without options, and options with their values."""
    plain: list[str] = []
    options: dict[str, str] = {}
    rest = list(words)
    while rest:
        word = rest.pop(0)
        if not word.startswith("-") or re.match(r"^-?[\d.]", word[1:] if word != "-1" else ""):
            plain.append(word)
        elif word not in _FLAGS:
            raise ValueError(f"option {word} is not known, known are {list(_FLAGS)}")
        else:
            options[word] = rest.pop(0) if _FLAGS[word] else ""
    return plain, options


def _topic(words: Sequence[str]) -> None:
    plain, options = split_options(words)
    if not plain:
        raise ValueError("which topic?")
    cls = message_class(_find("topic", *plain[:2]))
    if field := options.get("--field"):
        value = cls()
        for part in re.split(r"[.\[]", field):
            if not part.rstrip("]").isdigit():
                if not hasattr(value, part):
                    raise ValueError(f"{plain[0]} has no field {field!r}")
                value = getattr(value, part)


def _call(kind: str, member: str, words: Sequence[str]) -> None:
    plain, _ = split_options(words)
    name, type_name, *values = plain
    cls = getattr(message_class(_find(kind, name, type_name)), member)
    message_of(cls, yaml.safe_load(values[0]) if values else {})


def _publish(words: Sequence[str]) -> None:
    plain, _ = split_options(words)
    name, type_name, *values = plain
    message_of(
        message_class(_find("topic", name, type_name)), yaml.safe_load((values or ["{}"])[0])
    )


def _spec(node: str, name: str) -> ParameterSpec:
    bare = node.lstrip("/")
    if not node.startswith("/") or bare not in NODE_PARAMETERS:
        raise ValueError(f"there is no node {node}, there are /{', /'.join(NODE_PARAMETERS)}")
    known = {spec.name: spec for spec in specs(NODE_PARAMETERS[bare])}
    if name not in known:
        raise ValueError(f"{node} has no parameter {name!r}, it has {list(known)}")
    return known[name]


def _parameter(words: Sequence[str]) -> None:
    plain, _ = split_options(words)
    if len(plain) > 1 and not is_placeholder(plain[1]):
        _spec(plain[0], plain[1])


def _set_parameter(words: Sequence[str]) -> None:
    plain, _ = split_options(words)
    if not plain:  # the command as a word
        return
    node, name, text = plain
    spec = _spec(node, name)
    if spec.read_only:
        raise ValueError(f"{name} of {node} is fixed while the node is configured")
    if not is_placeholder(text):
        _check_value(spec, text)


def _check_value(spec: ParameterSpec, text: str) -> None:
    try:
        parse_text(spec, text)
    except TrossenPi0Error as error:
        raise ValueError(str(error)) from error


def _node(words: Sequence[str]) -> None:
    plain, _ = split_options(words)
    if not plain or plain[0].lstrip("/") not in NODE_PARAMETERS:
        raise ValueError(f"there is no node {plain}")


def _lifecycle(words: Sequence[str]) -> None:
    plain, _ = split_options(words)
    _node(plain)
    if plain[0].lstrip("/") in UNMANAGED:
        raise ValueError(f"{plain[0]} is no lifecycle node")
    if plain[1:] and plain[1] not in _TRANSITIONS:
        raise ValueError(f"{plain[1]!r} is none of {list(_TRANSITIONS)}")


def _launch(words: Sequence[str]) -> None:
    plain, _ = split_options(words)
    if not plain:  # the command as a word for the launch system
        return
    package, file, *arguments = plain
    if not package.startswith(_OURS):
        return
    known = launch_files(ROOT) if package == PACKAGE else {}
    if file not in known:
        raise ValueError(f"there is no launch file {package} {file}, there are {list(known)}")
    verify_arguments(known[file], arguments)


def _run(words: Sequence[str]) -> None:
    package, executable, *rest = words
    if not package.startswith(_OURS):
        return
    setup = ROOT / f"ros2_ws/src/{package}/setup.py"
    text = setup.read_text(encoding="utf-8") if setup.is_file() else ""
    found = re.search(rf'"{executable} = ([^:"]+)', text)
    if not found:
        raise ValueError(f"{package} has no executable {executable}")
    if rest[:1] == ["--ros-args"]:
        _ros_arguments(executable, rest[1:])
    elif table := module_arguments(found[1].removesuffix(".command")):
        verify_arguments(table, [word for word in rest if word != "--json"])


def _ros_arguments(executable: str, words: Sequence[str]) -> None:
    for option, word in zip(words[::2], words[1::2], strict=True):
        name, _, text = word.partition(":=")
        if option == "-p":
            spec = _spec(f"/{EXECUTABLES[executable]}", name)
            if not is_placeholder(text):
                _check_value(spec, text)
        elif option not in ("-r", "--params-file"):
            raise ValueError(f"--ros-args {option} is not known")


def _bag_record(words: Sequence[str]) -> None:
    plain, _ = split_options(words)
    for topic in plain:
        _find("topic", topic)


def _show(words: Sequence[str]) -> None:
    plain, _ = split_options(words)
    package, sort, name = plain[0].split("/")
    message_class(f"{package}/{sort}/{name}")


def _package(words: Sequence[str]) -> None:
    if not (ROOT / f"ros2_ws/src/{words[0].rstrip(')')}/package.xml").is_file():
        raise ValueError(f"{words[0]} is no package of ours")


def _anything(words: Sequence[str]) -> None:
    split_options(words)


_WHOLE: dict[tuple[str, ...], Callable[[Sequence[str]], None]] = {
    ("launch",): _launch,
    ("run",): _run,
}

_VERBS: dict[tuple[str, ...], Callable[[Sequence[str]], None]] = {
    ("topic", "echo"): _topic,
    ("topic", "hz"): _topic,
    ("topic", "bw"): _topic,
    ("topic", "delay"): _topic,
    ("topic", "info"): _topic,
    ("topic", "list"): _anything,
    ("topic", "pub"): _publish,
    ("service", "call"): functools.partial(_call, "service", "Request"),
    ("service", "list"): _anything,
    ("action", "send_goal"): functools.partial(_call, "action", "Goal"),
    ("action", "list"): _anything,
    ("param", "set"): _set_parameter,
    ("param", "get"): _parameter,
    ("param", "describe"): _parameter,
    ("param", "list"): _parameter,
    ("param", "dump"): _parameter,
    ("param", "load"): _node,
    ("node", "info"): _node,
    ("node", "list"): _anything,
    ("lifecycle", "nodes"): _anything,
    ("lifecycle", "set"): _lifecycle,
    ("lifecycle", "get"): _lifecycle,
    ("interface", "show"): _show,
    ("pkg", "prefix"): _package,
    ("bag", "record"): _bag_record,
    ("bag", "play"): _anything,
    ("bag", "info"): _anything,
    ("bag", "convert"): _anything,
}
