"""Watchdogs: clock, driver round trip, efforts, and settings without effect.

Pure: times are arguments, in whole nanoseconds. Not thread-safe.
"""

from __future__ import annotations

import enum
import math

import numpy as np
from numpy.typing import NDArray

from trossen_pi0_core.contract import NANOSECONDS, ActionChunk, Execution
from trossen_pi0_core.errors import ParameterError

# Simulated time may run this much faster than the wall's without counting as a jump, measured over
# at most one second: /clock may come as rarely as that.
_FASTEST_SIMULATION = 10
_CLOCK_WINDOW_NS = NANOSECONDS

# So many chunks in a row that do not overlap are the settings' doing, fewer may be a stall's.
_TELLING_CHUNKS = 3


class ClockWatch:
    """Compares ROS time with the monotonic clock from tick to tick."""

    def __init__(self, jump_ns: int) -> None:
        """Takes the largest difference that is no jump [ns].

        Raises:
            ParameterError: it is not greater than 0.
        """
        self._jump_ns = _positive("the allowed clock difference", jump_ns)
        self._ros_ns = 0
        self._monotonic_ns: int | None = None

    def check(self, ros_ns: int, monotonic_ns: int, *, simulated: bool) -> int:
        """By how much ROS time has jumped since the last call [ns]; 0 when it has not.

        Simulated time may stand still and run slower or faster than the wall's. It jumps when it
        goes back, or ahead by more than ten times the elapsed time and the allowed difference.

        Args:
            ros_ns: ROS time [ns]; 0 when simulated time has not begun.
            monotonic_ns: time of a clock that is never set [ns].
            simulated: whether ROS time comes from /clock.
        """
        last_ns, since_ns = self._ros_ns, self._monotonic_ns
        stands = simulated and ros_ns == last_ns and since_ns is not None
        if stands:
            return 0  # the time until it moves again counts as elapsed
        self._ros_ns, self._monotonic_ns = ros_ns, monotonic_ns
        if since_ns is None or (simulated and last_ns == 0):
            return 0
        elapsed_ns = ros_ns - last_ns
        expected_ns = monotonic_ns - since_ns
        if simulated:
            expected_ns = min(expected_ns, _CLOCK_WINDOW_NS)
            ahead = elapsed_ns - _FASTEST_SIMULATION * expected_ns > self._jump_ns
            return elapsed_ns - expected_ns if elapsed_ns < 0 or ahead else 0
        jump_ns = elapsed_ns - expected_ns
        return jump_ns if elapsed_ns < 0 or abs(jump_ns) > self._jump_ns else 0


class RoundTrip(enum.Enum):
    """What a driver cycle's duration means."""

    GOOD = enum.auto()
    LATE = enum.auto()
    """Too long, and worth counting."""
    HOLD = enum.auto()
    """Too long several times in a row: what the arms were told last is stale."""
    FAULT = enum.auto()
    """Too long for so long that the driver counts as failed."""


class RoundTripWatch:
    """Judges how long the driver takes to be told and read.

    Attributes:
        late: cycles in a row that were late.
    """

    def __init__(self, limit_ns: int, strikes: int, stale_ns: int) -> None:
        """Takes what is allowed.

        Args:
            limit_ns: a cycle that takes longer is late [ns].
            strikes: so many late ones in a row mean hold, 1 or more.
            stale_ns: when further late ones in a row take longer than this together, they mean
                fault [ns].

        Raises:
            ParameterError: a value is not greater than 0.
        """
        self._limit_ns = _positive("the round trip limit", limit_ns)
        self._strikes = _positive("the round trip strikes", strikes)
        self._stale_ns = _positive("the time until a fault", stale_ns)
        self.reset()

    def reset(self) -> None:
        """Forgets the late cycles."""
        self.late = 0
        self._held_ns = 0

    def check(self, round_trip_ns: int) -> RoundTrip:
        """Takes the duration of one cycle [ns]."""
        if round_trip_ns <= self._limit_ns:
            self.reset()
            return RoundTrip.GOOD
        self.late += 1
        if self.late < self._strikes:
            return RoundTrip.LATE
        if self.late > self._strikes:
            self._held_ns += round_trip_ns
        return RoundTrip.FAULT if self._held_ns > self._stale_ns else RoundTrip.HOLD


class HangWatch:
    """Finds a call that does not end, looked at from beside it."""

    def __init__(self, limit_ns: int, longest_look_ns: int) -> None:
        """Takes what is allowed.

        Args:
            limit_ns: a call that is seen for as long has hung [ns].
            longest_look_ns: most that the time between two looks counts [ns]. So a time in which
                this process could not run is not held against the call.

        Raises:
            ParameterError: a value is not greater than 0.
        """
        self._limit_ns = _positive("the time until a call has hung", limit_ns)
        self._longest_look_ns = _positive("the longest look", longest_look_ns)
        self._call = 0
        self._last_ns = 0
        self._seen_ns = 0

    def check(self, call: int, now_ns: int) -> int:
        """For how long the call has hung [ns]; 0 when it has not, or not yet.

        Args:
            call: number of the call under way, greater than 0; otherwise there is none.
            now_ns: present time of a clock that is never set [ns].
        """
        looked_ns = min(now_ns - self._last_ns, self._longest_look_ns)
        self._seen_ns = self._seen_ns + looked_ns if call == self._call and call > 0 else 0
        self._call, self._last_ns = call, now_ns
        return self._seen_ns if self._seen_ns >= self._limit_ns else 0


class EffortWatch:
    """Finds joints whose effort stays above its limit for too long."""

    def __init__(self, names: tuple[str, ...], limits: NDArray[np.float64], time_ns: int) -> None:
        """Takes what is allowed.

        Args:
            names: of the joints, for messages.
            limits: largest efforts, shape (joints,) [N m; N for carriages].
            time_ns: for how long an effort may stay above its limit [ns].

        Raises:
            ParameterError: limits that are missing, not finite or not greater than 0. A malformed
                limit never becomes a wide one.
        """
        if limits.shape != (len(names),) or not (np.isfinite(limits) & (limits > 0)).all():
            raise ParameterError(
                f"effort limits need {len(names)} finite values greater than 0, "
                f"got {limits.tolist()}"
            )
        self._names = names
        self._limits = limits.copy()
        self._time_ns = _positive("the time of too high an effort", time_ns)
        self._above_ns = np.zeros(len(names), dtype=np.int64)
        self._told = np.zeros(len(names), dtype=bool)

    def reset(self) -> None:
        """Forgets what has been measured."""
        self._above_ns[:] = 0
        self._told[:] = False

    def check(self, efforts: NDArray[np.float64], elapsed_ns: int) -> str:
        """What is overloaded since this call; empty when nothing is, or has been told already.

        Args:
            efforts: measured now, shape (joints,) [N m; N for carriages].
            elapsed_ns: time since the last measurement [ns].
        """
        above = np.abs(efforts) > self._limits
        self._above_ns = np.where(above, self._above_ns + elapsed_ns, 0)
        over = above & (self._above_ns >= self._time_ns)
        new = np.flatnonzero(over & ~self._told)
        self._told = over
        return "; ".join(
            f"{self._names[i]}: effort {efforts[i]:.1f} is beyond its limit of "
            f"+-{self._limits[i]:g} for {self._above_ns[i] / NANOSECONDS:.2f} s"
            for i in new
        )


class OverlapWatch:
    """Finds out when ensembling or cross-fading is asked for and consecutive chunks do not overlap.

    Each is told once, and again after it has been changed.
    """

    def __init__(self) -> None:
        self._last: ActionChunk | None = None
        self._apart = 0
        self._short = 0
        self._settings = (math.nan, 0)
        self._told_ensemble = False
        self._told_blend = False

    def check(self, chunk: ActionChunk, ensemble_coefficient: float, blend_ns: int) -> str:
        """What to warn about after this chunk was taken; empty when there is nothing new.

        Args:
            chunk: at least one row.
            ensemble_coefficient: NaN for none.
            blend_ns: length of the cross-fade [ns].
        """
        self._notice(ensemble_coefficient, blend_ns)
        last, self._last = self._last, chunk
        if last is None or last.run_id != chunk.run_id:
            self._apart = self._short = 0
            return ""
        overlap_ns = _overlap_ns(last, chunk)
        self._apart = self._apart + 1 if overlap_ns <= 0 else 0
        self._short = self._short + 1 if blend_ns and overlap_ns < blend_ns else 0
        if not math.isnan(ensemble_coefficient):
            if self._apart < _TELLING_CHUNKS or self._told_ensemble:
                return ""
            self._told_ensemble = True
            return (
                f"temporal ensembling has nothing to average: {_apart(last, overlap_ns)}; let the "
                "policy infer more often (rate_of_inference below the rows of a chunk) or set "
                "temporal_ensemble_coefficient to NaN"
            )
        # Chunks that stand still in between are not cross-faded on purpose.
        blocking = chunk.execution == Execution.BLOCKING
        if blocking or self._short < _TELLING_CHUNKS or self._told_blend:
            return ""
        self._told_blend = True
        return (
            f"blend_s is {blend_ns / NANOSECONDS:g} s, but {_apart(last, overlap_ns)}; let the "
            "policy infer more often (rate_of_inference below the rows of a chunk) or shorten it"
        )

    def _notice(self, ensemble_coefficient: float, blend_ns: int) -> None:
        """A setting that has been changed may be told of again."""
        coefficient, last_blend_ns = self._settings
        # NaN differs from itself, which is no change here.
        if repr(coefficient) != repr(ensemble_coefficient):
            self._told_ensemble = False
            self._apart = 0
        if last_blend_ns != blend_ns:
            self._told_blend = False
            self._short = 0
        self._settings = (ensemble_coefficient, blend_ns)


def _overlap_ns(last: ActionChunk, chunk: ActionChunk) -> int:
    """For how long both have rows on the time of the trajectory [ns].

    That time stands still while the arms wait for the next chunk after the executed rows.
    """
    if last.execution == Execution.BLOCKING or last.execute_rows:
        return last.t_end_ns - last.t_hold_ns
    return last.t_hold_ns - chunk.t_first_ns


def _apart(last: ActionChunk, overlap_ns: int) -> str:
    if last.execution == Execution.BLOCKING or overlap_ns == 0:
        return "a chunk begins where the one before ends"
    if overlap_ns > 0:
        return f"consecutive chunks overlap by {overlap_ns / NANOSECONDS:.3f} s"
    return f"a chunk begins {-overlap_ns / NANOSECONDS:.3f} s after the one before has ended"


def _positive(what: str, value: int) -> int:
    if value <= 0:
        raise ParameterError(f"{what} must be greater than 0, got {value}")
    return value
