"""The page of topics, services, actions and their messages."""

from __future__ import annotations

from pathlib import Path

from rosidl_adapter.parser import (
    MessageSpecification,
    parse_action_string,
    parse_message_string,
    parse_service_string,
)

from references.endpoints import Endpoint, endpoints
from references.markdown import MADE_BY, code, table
from references.meanings import ACTIONS, DYNAMIC, SERVICES, TOPICS, UNMANAGED

PACKAGE = "trossen_pi0_msgs"
MESSAGES = f"ros2_ws/src/{PACKAGE}"
"""Folder of the definitions."""

_INTRODUCTION = f"""\
{MADE_BY.format(source=f"`{MESSAGES}` and the nodes' sources")}

# Topics, services, actions and messages

Names are those without a namespace or remaps. A topic's quality of service is its publisher's;
`latched` means transient local: who comes late gets the last message. Types without a package are
`{PACKAGE}`'s, described [below](#messages).
"""

_COMMON_SERVICES = f"""\
Each node has the parameter services and those of a lifecycle node; the latter not
{", ".join(map(code, UNMANAGED))}."""


def messages_page(root: Path) -> str:
    """The text of the page."""
    found = endpoints(root)
    lines = _INTRODUCTION.splitlines()
    lines += ["", "## Topics", ""]
    lines += table(("topic", "type", "QoS", "from", "to", "what"), _topic_rows(found))
    lines += DYNAMIC.splitlines()
    lines += ["", "## Services", ""]
    lines += table(("service", "type", "of", "what"), _served_rows(found, "service", SERVICES))
    lines += [_COMMON_SERVICES, ""]
    lines += ["## Actions", ""]
    lines += table(("action", "type", "of", "what"), _served_rows(found, "action", ACTIONS))
    lines += ["## Messages", ""]
    for kind in ("msg", "srv", "action"):
        for path in sorted((root / MESSAGES / kind).iterdir()):
            lines += _definition(path)
    return "\n".join(lines).rstrip("\n") + "\n"


def _topic_rows(found: list[Endpoint]) -> list[tuple[str, ...]]:
    topics = [each for each in found if each.kind in ("publisher", "subscription")]
    names = sorted({each.name for each in topics})
    _same_names("TOPICS", names, TOPICS)
    rows = []
    for name in names:
        here = [each for each in topics if each.name == name]
        sent = [each for each in here if each.kind == "publisher"]
        heard = [each for each in here if each.kind == "subscription"]
        kind = _type((sent or heard)[0].type)
        qos = ", ".join(sorted({each.qos for each in sent}))
        rows.append((code(name), kind, qos, _nodes(sent), _nodes(heard), TOPICS[name]))
    return rows


def _served_rows(found: list[Endpoint], kind: str, words: dict[str, str]) -> list[tuple[str, ...]]:
    served = sorted((e for e in found if e.kind == kind), key=lambda each: each.name)
    _same_names(kind, [each.name for each in served], words)
    return [
        (code(each.name), _type(each.type), _nodes([each]), words[each.name]) for each in served
    ]


def _same_names(what: str, found: list[str], words: dict[str, str]) -> None:
    """Every name is described, and nothing that is not there."""
    undescribed, gone = sorted(set(found) - set(words)), sorted(set(words) - set(found))
    if undescribed or gone:
        raise ValueError(
            f"references/meanings.py, {what}: not described are {undescribed}, "
            f"not found in the sources are {gone}"
        )


def _nodes(endpoints: list[Endpoint]) -> str:
    return ", ".join(sorted({node for each in endpoints for node in each.nodes}))


def _type(name: str) -> str:
    package, _, short = name.rpartition("/")
    if not name.startswith(f"{PACKAGE}/"):
        return f"{package.partition('/')[0]}/{short}"
    return f"[{short}](#{short.lower()})"


def _definition(path: Path) -> list[str]:
    """One message, service or action."""
    text, name = path.read_text(encoding="utf-8"), path.stem
    parts: list[tuple[str, MessageSpecification]]
    if path.suffix == ".msg":
        parts = [("", parse_message_string(PACKAGE, name, text))]
    elif path.suffix == ".srv":
        service = parse_service_string(PACKAGE, name, text)
        parts = [("Request", service.request), ("Response", service.response)]
    else:
        action = parse_action_string(PACKAGE, name, text)
        parts = [("Goal", action.goal), ("Result", action.result), ("Feedback", action.feedback)]
    words = parts[0][1].annotations.get("comment", [])
    lines = [
        f"### {name}",
        "",
        f"`{PACKAGE}/{path.suffix[1:]}/{name}`. {' '.join(words)}".strip(),
        "",
    ]
    for title, part in parts:
        lines += [f"{title}:", ""] if title else []
        lines += _fields(part)
    return lines


def _fields(part: MessageSpecification) -> list[str]:
    constants = [
        (code(f"{each.name}={each.value}"), each.type, "", _words(each)) for each in part.constants
    ]
    fields = [
        (code(each.name), str(each.type), each.annotations.get("unit", ""), _words(each))
        for each in part.fields
    ]
    if not constants and not fields:
        return ["nothing", ""]
    return table(("field or constant", "type", "unit", "meaning"), [*constants, *fields])


def _words(part: object) -> str:
    return " ".join(getattr(part, "annotations", {}).get("comment", [])).strip()
