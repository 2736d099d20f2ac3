"""Which runs of the policy begin and end, from its status. ROS-free."""

from __future__ import annotations

from dataclasses import dataclass

from trossen_pi0_data.episode_info import PolicyInfo

FAILED, ENDED = "failed", "ended"
"""What the status tells of a run's end; the message says more."""


@dataclass(frozen=True)
class RunChange:
    """What a status says that the one before did not.

    Attributes:
        ended: a run that is over.
        began: id of a run that is under way now; empty: none has begun.
    """

    ended: PolicyInfo | None = None
    began: str = ""


class RunWatch:
    """Follows the run in force. One thread."""

    def __init__(self) -> None:
        self.run_id = ""

    def take(self, run_id: str, reason: str, *, failed: bool) -> RunChange:
        """Takes a status.

        Args:
            run_id: of the run under way; empty: none.
            reason: why the policy does what it does; of an ended run, why it ended.
            failed: the policy says that it failed.
        """
        if run_id == self.run_id:
            return RunChange()
        before, self.run_id = self.run_id, run_id
        ended = None
        if before:
            # With the next run under way, the status tells nothing of the last one any more.
            told = "" if run_id else reason
            ended = PolicyInfo(before, FAILED if failed and not run_id else ENDED, told)
        return RunChange(ended, run_id)

    def gone(self) -> PolicyInfo | None:
        """The policy node is not there any more; returns the run that ended with it."""
        before, self.run_id = self.run_id, ""
        return PolicyInfo(before, FAILED, "the policy node is gone") if before else None
