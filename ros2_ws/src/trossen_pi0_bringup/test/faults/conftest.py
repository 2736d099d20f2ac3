"""The stack that the faults of a module share, and the table at the end."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from domain_coordinator import domain_id

from fault_harness.campaign import Campaign
from fault_harness.stack import Stack

CAMPAIGN = pytest.StashKey[Campaign]()

_EVERY = 3


def pytest_configure(config: pytest.Config) -> None:
    config.stash[CAMPAIGN] = Campaign()


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Of the cases of a table every third is in `make test`; the others are marked slow."""
    seen: Counter[str] = Counter()
    for item in items:
        if item.path.parent == Path(__file__).parent and isinstance(item, pytest.Function):
            name = f"{item.path}::{item.originalname}"
            if seen[name] % _EVERY:
                item.add_marker(pytest.mark.slow)
            seen[name] += 1


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    campaign = terminalreporter.config.stash.get(CAMPAIGN, Campaign())
    everything = terminalreporter.config.get_verbosity() > 0
    if campaign.rows and (everything or not all(row.passed for row in campaign.rows)):
        terminalreporter.section(f"{len(campaign.rows)} faults")
        for line in campaign.table(passed=everything):
            terminalreporter.write_line(line)


@pytest.fixture(scope="session")
def campaign(pytestconfig: pytest.Config) -> Campaign:
    """Collects the rows of the table."""
    return pytestconfig.stash.setdefault(CAMPAIGN, Campaign())


@contextmanager
def stack_of(factory: pytest.TempPathFactory, **options: bool) -> Iterator[Stack]:
    """A stack in a ROS domain of its own."""
    with domain_id() as domain:
        stack = Stack(factory.mktemp("stack"), domain, **options)
        try:
            yield stack
        finally:
            stack.close()


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """The stack as it runs on a robot; nodes are started by the first fault."""
    with stack_of(tmp_path_factory) as made:
        yield made


@pytest.fixture(scope="module")
def networked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """The stack, with a network to the arms that can be made bad."""
    with stack_of(tmp_path_factory, network=True) as made:
        yield made


@pytest.fixture(scope="module")
def clocked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """The stack in the time of /clock."""
    with stack_of(tmp_path_factory, publishes_time=True) as made:
        yield made
