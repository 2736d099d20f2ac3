"""Checkpoints whose values are in another order than the kit's: served by name.

The joints of a request and of its answer are in the kit's order (``JointMap``). Training writes the
order of its data set into the checkpoint, as ``joints`` of ``policy_metadata``.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from typing_extensions import override

from trossen_pi0_core.joints import JointMap
from trossen_pi0_core.transforms import (
    ModelInputs,
    NormStats,
    PolicyTransform,
    Tokenizer,
    TransformConfig,
)
from trossen_pi0_core.transforms.request import request_prefix, request_state
from trossen_pi0_policy.checkpoints import CheckpointError

JOINTS = "joints"
"""Key of the names in ``policy_metadata``."""


def kit_places(checkpoint: Path, policy_metadata: Mapping[str, Any]) -> tuple[int, ...] | None:
    """Where the kit has each value of a checkpoint.

    Args:
        checkpoint: its folder, for messages.
        policy_metadata: may name the ``joints`` of states and actions, with or without ``.pos``.

    Returns:
        For each value of the checkpoint its place in the kit's order; None where the orders are
        the same or the checkpoint names no joints.

    Raises:
        CheckpointError: other joints than the kit's, or no names.
    """
    given = policy_metadata.get(JOINTS)
    if given is None:
        return None
    wanted = [_plain(name) for name in JointMap().dataset_names]
    if not isinstance(given, list) or not all(isinstance(name, str) for name in given):
        raise CheckpointError(
            f"checkpoint {checkpoint}: {JOINTS} in policy_metadata must be a list of names, "
            f"got {given!r}"
        )
    names = [_plain(name) for name in given]
    if sorted(names) != sorted(wanted):
        raise CheckpointError(
            f"checkpoint {checkpoint} was not trained for this kit's joints and cannot be served "
            f"to it: {_difference(names, wanted)}; its joints are {given}, the kit's are "
            f"{list(JointMap().dataset_names)}, in any order"
        )
    places = tuple(wanted.index(name) for name in names)
    return None if names == wanted else places


class ReorderedTransform(PolicyTransform):
    """For a checkpoint in an order of its own: requests and answers are in the kit's. Any thread.

    Statistics and the delta mask are in the checkpoint's order.
    """

    def __init__(
        self,
        config: TransformConfig,
        stats: Mapping[str, NormStats],
        tokenizer: Tokenizer,
        places: tuple[int, ...],
    ) -> None:
        """Args:
            config: what the checkpoint wants.
            stats: of ``state`` and ``actions``.
            tokenizer: of the model.
            places: for each value of the checkpoint its place in the kit's order.

        Raises:
            NormStatsError: as ``PolicyTransform``.
        """
        super().__init__(config, stats, tokenizer)
        self._places = list(places)
        self._back = np.argsort(places)

    @override
    def inputs(self, request: Mapping[str, Any]) -> ModelInputs:
        return super().inputs(self._reordered(request))

    @override
    def outputs(self, actions: NDArray[Any], request: Mapping[str, Any]) -> NDArray[np.float32]:
        return super().outputs(actions, self._reordered(request))[:, self._back]

    @override
    def prefix(self, request: Mapping[str, Any]) -> tuple[NDArray[np.float32], int] | None:
        return super().prefix(self._reordered(request))

    def _reordered(self, request: Mapping[str, Any]) -> dict[str, Any]:
        size = len(self._places)
        changed = {**request, "state": request_state(request, size)[self._places]}
        if (given := request_prefix(request, size)) is not None:
            rows = given.positions[:, self._places]
            changed["rtc"] = {"prefix": rows, "frozen": given.frozen}
        return changed


def _plain(name: str) -> str:
    return name.removesuffix(".pos")


def _difference(names: list[str], wanted: list[str]) -> str:
    missing = [name for name in wanted if name not in names]
    unknown = [name for name in names if name not in wanted]
    repeated = sorted({name for name in names if names.count(name) > 1})
    found = {"missing": missing, "not the kit's": unknown, "named more than once": repeated}
    return ", ".join(f"{what} {which}" for what, which in found.items() if which)
