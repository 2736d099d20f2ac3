"""The path that the grippers have really gone lately."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from trossen_pi0_core.contract import NANOSECONDS
from trossen_pi0_core.joints import select_joints
from trossen_pi0_monitor.tips import Tips

Array = NDArray[np.float64]

SPACING_NS = 30_000_000
"""Joint states that come sooner after the last one are left out."""


class Trail:
    """Measured joint positions of the last seconds, as gripper positions."""

    def __init__(self, tips: Tips, keep_s: float) -> None:
        self._tips = tips
        self.keep_s = keep_s
        self._names: tuple[str, ...] = ()
        self._fresh: list[tuple[int, Sequence[float]]] = []
        self._gone: deque[tuple[int, Array]] = deque()  # stamp [ns], points (arms, 3)

    def add(self, stamp_ns: int, names: Sequence[str], positions: Sequence[float]) -> None:
        """Takes a joint state; costs next to nothing until ``points``.

        Raises:
            JointError: a joint of an arm is missing, or the counts differ; it is left out.
        """
        newest = self._fresh[-1][0] if self._fresh else self._gone[-1][0] if self._gone else None
        if newest is not None and 0 <= stamp_ns - newest < SPACING_NS:
            return
        if tuple(names) != self._names or len(positions) != len(names):
            select_joints(names, positions, self._tips.joint_names)
            self.clear()
            self._names = tuple(names)
        elif newest is not None and stamp_ns < newest:
            self.clear()
        self._fresh.append((stamp_ns, positions))

    def points(self, now_ns: int) -> Mapping[str, Array]:
        """Where each arm's gripper was, oldest first, shape (n, 3) [m]; without what is unknown."""
        fresh, self._fresh = self._fresh, []
        if fresh:
            rows: ArrayLike = np.array([positions for _, positions in fresh])
            paths = self._tips.paths(self._names, rows)
            points = np.stack([paths[arm].points for arm in self._tips.arms], axis=1)
            self._gone.extend(zip((stamp for stamp, _ in fresh), points, strict=True))
        oldest_ns = now_ns - int(self.keep_s * NANOSECONDS)
        while self._gone and self._gone[0][0] < oldest_ns:
            self._gone.popleft()
        gone = np.array([point for _, point in self._gone]).reshape(-1, len(self._tips.arms), 3)
        known: NDArray[np.bool_] = np.logical_and.reduce(np.isfinite(gone), axis=2)
        return {arm: gone[known[:, i], i] for i, arm in enumerate(self._tips.arms)}

    def clear(self) -> None:
        """Forgets all."""
        self._fresh.clear()
        self._gone.clear()
