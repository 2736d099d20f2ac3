"""The recorded commands of an episode as a motion that can be executed again. ROS-free."""

from __future__ import annotations

import functools
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.interpolate import CubicSpline

from trossen_pi0_core.contract import NANOSECONDS
from trossen_pi0_core.errors import EpisodeError, JointError
from trossen_pi0_core.joints import JointMap, select_joints
from trossen_pi0_core.limits import JointLimits
from trossen_pi0_data.bag_reader import EpisodeReader
from trossen_pi0_data.plain_bag import COMMAND_TOPIC
from trossen_pi0_data.streams import JOINT_STATE_TYPE, stamp_of, urdf_names

LARGEST_GAP_S = 0.5
"""Commands further apart than this do not belong to one motion [s]."""

_ARITHMETIC = 1e-6  # beyond a position limit [rad; m for carriages]


@dataclass(frozen=True)
class CommandTrack:
    """Commands over time, at least two.

    Attributes:
        names: URDF joint names, one a column.
        stamps_ns: as stamped by the controller, ascending, shape (n,), ROS time [ns].
        positions: float64, shape (n, joints) [rad; m for carriages].
    """

    names: tuple[str, ...]
    stamps_ns: NDArray[np.int64]
    positions: NDArray[np.float64]

    def __post_init__(self) -> None:
        if len(self.stamps_ns) < 2:
            raise EpisodeError(
                f"need two commands or more in what is replayed, got {len(self.stamps_ns)}"
            )
        steps_ns = np.diff(self.stamps_ns)
        if (steps_ns <= 0).any():
            i = int(np.argmax(steps_ns <= 0))
            raise EpisodeError(
                f"stamps of commands must ascend; after {self._second(i):.3f} s one goes back by "
                f"{-steps_ns[i] / NANOSECONDS:.3f} s"
            )
        if steps_ns.max() > LARGEST_GAP_S * NANOSECONDS:
            i = int(np.argmax(steps_ns))
            raise EpisodeError(
                f"there is no command for {steps_ns[i] / NANOSECONDS:.2f} s after "
                f"{self._second(i):.2f} s, allowed are {LARGEST_GAP_S:g} s; choose a part of the "
                "episode with start_s and duration_s"
            )
        if not np.isfinite(self.positions).all():
            row, column = np.argwhere(~np.isfinite(self.positions))[0]
            raise EpisodeError(
                f"positions of commands must be finite, got {self.positions[row, column]} for "
                f"{self.names[column]} at {self._second(row):.2f} s"
            )

    @property
    def duration_ns(self) -> int:
        """First to last command [ns]."""
        return int(self.stamps_ns[-1] - self.stamps_ns[0])

    def sample(self, times_ns: ArrayLike) -> NDArray[np.float64]:
        """Commanded positions at times after the first command [ns], shape (n, joints).

        Between the commands the smoothest curve through them, from rest to rest, with continuous
        accelerations; before the first and after the last they stay. The recorded velocities are
        not used: where the recording controller was late, positions moved on by less than those.
        """
        times_s = np.asarray(times_ns, dtype=np.float64) / NANOSECONDS
        return np.asarray(self._curve(np.clip(times_s, 0.0, self.duration_ns / NANOSECONDS)))

    def check(self, limits: JointLimits, rate: float) -> None:
        """Raises EpisodeError unless the motion fits an arm controller.

        Args:
            limits: of the controller.
            rate: episode time over real time; speeds grow with it.
        """
        if self.names != limits.names:
            raise EpisodeError(
                f"the commands are for {list(self.names)}, the arm controller has "
                f"{list(limits.names)}"
            )
        outside = np.maximum(limits.lower - self.positions, self.positions - limits.upper)
        if outside.max() > _ARITHMETIC:
            row, j = np.unravel_index(int(outside.argmax()), outside.shape)
            raise EpisodeError(
                f"{self.names[j]}: the command {self.positions[row, j]:.4f} at "
                f"{self._second(int(row)):.2f} s lies outside "
                f"[{limits.lower[j]:.4f}, {limits.upper[j]:.4f}], which the arm controller allows"
            )
        speeds = np.abs(np.diff(self.positions, axis=0))
        speeds *= rate * NANOSECONDS / np.diff(self.stamps_ns)[:, None]
        over = speeds / limits.velocity
        if over.max() > 1.0:
            row, j = np.unravel_index(int(over.argmax()), over.shape)
            raise EpisodeError(
                f"{self.names[j]}: the commands move at {speeds[row, j]:.3f} /s at "
                f"{self._second(int(row)):.2f} s (rate {rate:g}), the arm controller allows "
                f"{limits.velocity[j]:.3f} /s"
            )

    @functools.cached_property
    def _curve(self) -> CubicSpline:
        times_s = (self.stamps_ns - self.stamps_ns[0]) / NANOSECONDS
        return CubicSpline(times_s, self.positions, bc_type="clamped")

    def _second(self, i: int) -> float:
        """Time of a command after the first [s]."""
        return float(self.stamps_ns[i] - self.stamps_ns[0]) / NANOSECONDS


def read_command_track(
    reader: EpisodeReader,
    joints: JointMap,
    start_ns: int | None = None,
    end_ns: int | None = None,
) -> CommandTrack:
    """The commands of an episode in the joint order of the suite, none left out.

    Args:
        reader: the episode.
        joints: which joints; the episode may name them in any order, by URDF or data-set names.
        start_ns: log time of the first [ns]; None: from the beginning.
        end_ns: log time that is no longer taken [ns]; None: to the end.

    Raises:
        EpisodeError: there are none, they lack joints, or they make no motion.
    """
    where = f"{reader.folder.name}, {COMMAND_TOPIC}"
    kind = reader.type_of(COMMAND_TOPIC)
    if kind != JOINT_STATE_TYPE:
        raise EpisodeError(f"{where}: need messages of type {JOINT_STATE_TYPE}, got {kind}")
    wanted = joints.urdf_names
    stamps: list[int] = []
    positions: list[NDArray[np.float64]] = []
    try:
        for message in reader.messages([COMMAND_TOPIC], start_ns, end_ns):
            state = reader.decode(message)
            names = urdf_names(reader.info, state.name)
            stamps.append(stamp_of(state))
            positions.append(select_joints(names, state.position, wanted))
        return CommandTrack(wanted, np.array(stamps, dtype=np.int64), np.array(positions))
    except (EpisodeError, JointError) as error:
        raise EpisodeError(f"{where}: {error}") from error
