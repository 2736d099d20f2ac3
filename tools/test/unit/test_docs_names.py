"""What the pages quote of the code is there: names of modules and members, and messages."""

import ast
from pathlib import Path

import pytest

from doc_checks.names import unknown_messages, unknown_names
from doc_checks.pages import Page, documentation

ROOT = Path(__file__).resolve().parents[3]
PAGES = documentation(ROOT)
TROUBLESHOOTING = Page(ROOT / "docs/troubleshooting.md")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.path.name)
def test_modules_and_members_exist(page):
    assert unknown_names(page) == []


def test_messages_are_those_of_the_code():
    assert unknown_messages(TROUBLESHOOTING, ROOT) == []
    assert sum(" " in text for text, _ in TROUBLESHOOTING.first_cells()) > 30


def test_messages_of_faults_are_those_of_the_code():
    unknown = unknown_messages(Page(ROOT / "docs/safety.md"), ROOT)
    # What the driver was doing is put into the message when it fails.
    assert [text for text in unknown if "ing failed'" not in text] == []


PYTHON = [(p.path.name, b) for p in PAGES for b in p.blocks if b.language == "python"]


@pytest.mark.parametrize(("page", "block"), PYTHON, ids=lambda value: str(value)[:20])
def test_blocks_of_python_are_python_and_import_what_there_is(page, block):
    tree = ast.parse(block.text)
    imports = [n for n in ast.walk(tree) if isinstance(n, (ast.Import, ast.ImportFrom))]
    assert imports, f"{page}:{block.line}: what does it use?"
    for statement in imports:
        exec(compile(ast.unparse(statement), page, "exec"), {})


@pytest.mark.parametrize(
    ("cell", "known"),
    [
        ("joint states: none received", True),
        ("chunk ... is not executed: ...", True),
        ("chunk ... is not swallowed: ...", False),
        ("newest picture is ... s old", True),
        ("newest picture is ... minutes young", False),
        ("the arms are on strike", False),
    ],
)
def test_a_message_that_nothing_says_is_told(tmp_path, cell, known):
    path = tmp_path / "page.md"
    path.write_text(f"| message | cause |\n| --- | --- |\n| `{cell}` | `x y` |\n")
    assert (unknown_messages(Page(path), ROOT) == []) == known


@pytest.mark.parametrize(
    ("name", "known"),
    [
        ("trossen_pi0_core.parameters.policy.BACKENDS", True),
        ("trossen_pi0_data.episode_info.EpisodeInfo.read(folder)", True),
        ("trossen_pi0_core.parameters.policy.BACKEND", False),
        ("trossen_pi0_core.no_such_module", False),
    ],
)
def test_a_name_that_there_is_not_is_told(tmp_path, name, known):
    path = tmp_path / "page.md"
    path.write_text(f"See `{name}`.\n")
    assert (unknown_names(Page(path)) == []) == known
