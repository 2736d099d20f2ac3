"""Links between pages lead somewhere."""

from pathlib import Path

import pytest

from doc_checks.links import broken_links
from doc_checks.pages import Page, documentation

ROOT = Path(__file__).resolve().parents[3]
PAGES = documentation(ROOT)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.path.name)
def test_links_resolve(page):
    assert broken_links(page) == []


def test_every_page_is_in_the_index():
    index = (ROOT / "docs/README.md").read_text(encoding="utf-8")
    missing = [page.path.name for page in PAGES[1:] if f"({page.path.name})" not in index]
    assert missing in ([], ["README.md"])


@pytest.mark.parametrize(
    ("link", "message"),
    [
        ("[x](other.md)", ""),
        ("[x](other.md#a-heading-1)", ""),
        ("[x](https://example.org/nothing)", ""),
        ("[x](gone.md)", "there is no"),
        ("[x](other.md#another-heading)", "no heading"),
        ("[x](#nothing)", "no heading"),
        ("![x](images/gone.png)", "there is no"),
    ],
)
def test_what_leads_nowhere_is_told(tmp_path, link, message):
    (tmp_path / "other.md").write_text("# A heading\n\n## A heading\n")
    page = tmp_path / "page.md"
    page.write_text(f"# Page\n\n{link}\n")
    problems = broken_links(Page(page))
    assert (message in problems[0]) if message else problems == []
