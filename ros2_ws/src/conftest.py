"""What all tests share: they leave no shared memory behind."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator

import pytest


def _clean_shared_memory() -> None:
    """Removes what killed nodes left in shared memory.

    Each of them leaves some 70 MB in ``/dev/shm``, which is memory of the machine. Fast DDS's own
    command removes the segments whose lock nobody holds, so running nodes keep theirs.
    """
    command = shutil.which("fastdds")
    if command is None:
        raise RuntimeError("the command `fastdds` is not on the path: run the tests by `make test`")
    subprocess.run([command, "shm", "clean"], check=True, stdout=subprocess.DEVNULL)


@pytest.fixture(scope="module", autouse=True)
def clean_shared_memory(request: pytest.FixtureRequest) -> Iterator[None]:
    """After each module with nodes of its own."""
    yield
    if "unit" not in request.path.parts:
        _clean_shared_memory()
