"""What the nodes publish, hear and serve, found in their sources.

The calls that make publishers, subscriptions, services and action servers are looked for; their
arguments are evaluated with the names of the module that they stand in. Names made of loop
variables become ``<variable>``.
"""

from __future__ import annotations

import ast
import importlib
import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy

from references.meanings import ALIASES, MODULE_NODES, NOT_STATIC, QUALITIES, VALUES

_KINDS = {
    "create_publisher": "publisher",
    "create_subscription": "subscription",
    "create_service": "service",
    "ActionServer": "action",
}

_WITHOUT_NODES = ("bringup", "core", "msgs")


@dataclass(frozen=True)
class Endpoint:
    """One end of a topic, service or action.

    Attributes:
        kind: publisher, subscription, service or action.
        name: absolute name, with ``<...>`` for what varies.
        type: full name, such as ``std_srvs/srv/Trigger``.
        qos: of a topic, in words.
        nodes: which nodes have it.
    """

    kind: str
    name: str
    type: str
    qos: str
    nodes: tuple[str, ...]


def endpoints(root: Path) -> list[Endpoint]:
    """All ends in the node packages.

    Raises:
        ValueError: a module that is not in ``MODULE_NODES``, or a call that cannot be read.
    """
    found: list[Endpoint] = []
    for package in sorted((root / "ros2_ws/src").glob("trossen_pi0_*")):
        if package.name.removeprefix("trossen_pi0_") in _WITHOUT_NODES:
            continue
        folder = package / package.name
        for path in sorted(folder.rglob("*.py")):
            name = ".".join(path.relative_to(folder.parent).with_suffix("").parts)
            found += _of_module(path, name)
    return found


def _of_module(path: Path, name: str) -> list[Endpoint]:
    text = path.read_text(encoding="utf-8")
    if not any(word in text for word in _KINDS):
        return []
    tree = ast.parse(text)
    calls = [
        (kind, call)
        for kind, call in _calls(tree)
        if (name, _name_as_written(call)) not in NOT_STATIC
    ]
    if not calls:
        return []
    if name not in MODULE_NODES:
        raise ValueError(f"references/meanings.py: which nodes does {name} belong to?")
    nodes = MODULE_NODES[name]
    if not nodes:
        return []
    module = importlib.import_module(name)
    return [each for kind, call in calls for each in _endpoints(kind, call, module, nodes)]


def _name_as_written(call: ast.Call) -> str:
    return ast.unparse(call.args[2 if _called(call) == "ActionServer" else 1])


def _called(call: ast.Call) -> str:
    function = call.func
    return function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")


def _calls(tree: ast.AST) -> Iterator[tuple[str, ast.Call]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            kind = _KINDS.get(_called(node)) or ALIASES.get(_called(node))
            if kind and len(node.args) >= 2:
                yield kind, node


def _endpoints(
    kind: str, call: ast.Call, module: ModuleType, nodes: tuple[str, ...]
) -> Iterator[Endpoint]:
    arguments = call.args[1:] if kind == "action" else call.args
    cls: Any = getattr(module, ast.unparse(arguments[0]))
    package, _, rest = cls.__module__.partition(".")
    type_name = f"{package}/{rest.partition('.')[0]}/{cls.__name__}"
    qos = ""
    if kind in ("publisher", "subscription"):
        qos = _qos(arguments[2 if kind == "publisher" else 3], module)
    for name in _names(arguments[1], module):
        yield Endpoint(kind, f"/{name.lstrip('/')}", type_name, qos, nodes)


def _names(node: ast.expr, module: ModuleType) -> list[str]:
    """What an expression that is a name can be."""
    if isinstance(node, ast.JoinedStr):
        parts = [_names(part, module) for part in node.values]
        return ["".join(words) for words in itertools.product(*parts)]
    if isinstance(node, ast.FormattedValue):
        return _names(node.value, module)
    if isinstance(node, ast.Constant):
        return [str(node.value)]
    text = ast.unparse(node)
    known = VALUES.get((module.__name__, text))
    return list(known) if known else [str(getattr(module, text, f"<{text}>"))]


def _qos(node: ast.expr, module: ModuleType) -> str:
    text = ast.unparse(node)
    if (module.__name__, text) in QUALITIES:
        return QUALITIES[module.__name__, text]
    profile = eval(text, dict(vars(module)))
    if isinstance(profile, int):
        return f"reliable, depth {profile}"
    assert isinstance(profile, QoSProfile)
    reliable = profile.reliability == ReliabilityPolicy.RELIABLE
    latched = profile.durability == DurabilityPolicy.TRANSIENT_LOCAL
    words = ["reliable" if reliable else "best effort", *(["latched"] if latched else [])]
    return ", ".join([*words, f"depth {profile.depth}"])
