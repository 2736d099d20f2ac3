from __future__ import annotations

import pytest

from trossen_pi0_description.kit import describe_kit
from trossen_pi0_description.model import Robot


@pytest.fixture(scope="session")
def robot() -> Robot:
    return describe_kit()
