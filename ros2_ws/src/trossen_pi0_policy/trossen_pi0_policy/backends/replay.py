"""Plays a recorded action sequence."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from typing_extensions import override

from trossen_pi0_core.errors import BackendError, JointError
from trossen_pi0_core.joints import JointMap, select_joints
from trossen_pi0_policy.backends.base import (
    BackendContext,
    Inference,
    InferenceRequest,
    PolicyBackend,
)
from trossen_pi0_policy.backends.following import TrajectoryFollower, revolute_joints

_KEYS = ("positions", "joint_names", "rate_hz")


class Recording:
    """Joint targets at a fixed rate, straight lines between them."""

    def __init__(self, positions: NDArray[np.float64], rate_hz: float) -> None:
        """Args:
        positions: shape (rows >= 1, joints) [rad; m for carriages].
        rate_hz: rows a second.
        """
        self.positions = positions
        self.rate_hz = rate_hz

    @property
    def duration_s(self) -> float:
        """From the first row to the last [s]."""
        return (len(self.positions) - 1) / self.rate_hz

    def sample(self, t_s: ArrayLike, /) -> NDArray[np.float64]:
        """Positions at the times [s], clamped at both ends, shape (n, joints)."""
        place = np.clip(np.atleast_1d(t_s) * self.rate_hz, 0.0, len(self.positions) - 1)
        before = np.floor(place).astype(int)
        after = np.minimum(before + 1, len(self.positions) - 1)
        part = (place - before)[:, None]
        return (1.0 - part) * self.positions[before] + part * self.positions[after]

    @classmethod
    def load(cls, path: Path, joints: JointMap) -> Recording:
        """Reads an .npz file with ``positions``, ``joint_names`` and ``rate_hz``.

        Joints may have their URDF or their data-set names, in any order.

        Raises:
            BackendError: there is no such file, or it does not hold that.
        """
        fields = _read(path)
        positions, rate_hz = np.asarray(fields["positions"]), np.asarray(fields["rate_hz"])
        names = [str(name) for name in np.atleast_1d(fields["joint_names"])]
        if positions.dtype.kind not in "fiu" or positions.ndim != 2 or not len(positions):
            raise BackendError(
                f"{path}: positions must be numbers of shape (rows >= 1, joints), got "
                f"{positions.dtype} {positions.shape}"
            )
        if rate_hz.dtype.kind not in "fiu" or rate_hz.size != 1:
            raise BackendError(f"{path}: rate_hz must be one number, got {rate_hz!r}")
        rate = float(rate_hz.item())
        if not np.isfinite(rate) or rate <= 0.0:
            raise BackendError(f"{path}: rate_hz must be greater than 0, got {rate}")
        if not np.isfinite(positions).all():
            row, column = np.argwhere(~np.isfinite(positions))[0]
            raise BackendError(
                f"{path}: positions must be finite, got {positions[row, column]} in row {row} "
                f"for {names[column : column + 1]}"
            )
        wanted = joints.dataset_names if joints.dataset_names[0] in names else joints.urdf_names
        try:
            return cls(select_joints(names, positions, wanted), rate)
        except JointError as error:
            raise BackendError(f"{path}: {error}") from error


def _read(path: Path) -> dict[str, Any]:
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
            missing = [key for key in _KEYS if key not in archive]
            if missing:
                raise BackendError(f"{path}: needs {list(_KEYS)}, {missing} are missing")
            return {key: archive[key] for key in _KEYS}
    except FileNotFoundError as error:
        raise BackendError(f"replay_file: there is no file {path}") from error
    except (OSError, ValueError, EOFError, TypeError, AttributeError, zipfile.BadZipFile) as error:
        raise BackendError(f"{path} is not an .npz file of arrays: {error}") from error


class ReplayBackend(PolicyBackend):
    """A recorded sequence, from its first row on in each run, at the rate it was recorded."""

    needs_ground_truth = False

    def __init__(self, context: BackendContext) -> None:
        """Raises:
        BackendError: the file cannot be used.
        """
        parameters = context.parameters
        joints = parameters.joint_map
        self._recording = Recording.load(Path(parameters.replay_file).expanduser(), joints)
        self._horizon = parameters.replay_horizon
        self._compared = revolute_joints(joints)
        self._follower: TrajectoryFollower | None = None

    @override
    def prepare(self) -> None:
        """Nothing to prepare: the file has been read."""

    @override
    def begin_run(self, prompt: str, seed: int) -> None:
        self._follower = None

    @override
    def infer(self, request: InferenceRequest) -> Inference:
        observation = request.observation
        if self._follower is None:
            self._follower = TrajectoryFollower(
                self._recording, observation.stamp_ns, self._compared
            )
        at_s = self._follower.locate(observation.stamp_ns, observation.state)
        return self._follower.next_rows(at_s, self._horizon, request.period_ns)

    @override
    def interrupt(self) -> None:
        """Nothing here takes long."""

    @override
    def close(self) -> None:
        self._follower = None
