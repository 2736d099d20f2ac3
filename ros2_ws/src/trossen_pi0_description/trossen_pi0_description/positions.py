"""What the frames are moved by: joint positions."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from trossen_pi0_core.errors import JointError
from trossen_pi0_core.joints import select_joints


def read_positions(
    names: Sequence[str], positions: ArrayLike, wanted: Sequence[str]
) -> dict[str, float]:
    """Positions of the wanted joints by name [rad; m for carriages], out of joint states.

    Raises:
        JointError: one is missing, stands twice or is not finite, or the counts differ.
    """
    values = select_joints(names, positions, wanted)
    if not np.isfinite(values).all():
        wrong = [wanted[i] for i in np.flatnonzero(~np.isfinite(values))]
        raise JointError(f"positions that are not finite: {wrong}")
    return dict(zip(wanted, values.tolist(), strict=True))
