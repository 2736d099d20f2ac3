"""All that is known of the robot's motion, and what there is to draw of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from trossen_pi0_core.contract import NANOSECONDS, ActionChunk
from trossen_pi0_core.joints import JointMap
from trossen_pi0_core.kinematics import KinematicTree
from trossen_pi0_monitor.drawing import Stroke, plan_strokes, trail_strokes
from trossen_pi0_monitor.plans import PlanHistory
from trossen_pi0_monitor.tips import Tips
from trossen_pi0_monitor.trail import Trail

TIP_LINK = "ee_gripper_link"
"""Frame between the fingertips in the kit's URDF, without prefix."""


@dataclass(frozen=True)
class Style:
    """How it is drawn.

    Attributes:
        history: so many chunks before the newest are drawn.
        trail_s: how long the path gone is drawn [s].
        line_width: of what was executed [m].
    """

    history: int = 1
    trail_s: float = 3.0
    line_width: float = 0.008


@dataclass(frozen=True)
class Following:
    """What the arms follow: the run, and by how much its rows are late [ns]."""

    run_id: str
    delay_ns: int = 0


class MotionView:
    """Plans and trail of a robot whose description is known. Times are ROS time."""

    def __init__(
        self, urdf: str, joint_map: JointMap, tip_link: str = TIP_LINK, style: Style | None = None
    ) -> None:
        """Args:
        urdf: text of the robot's description.
        joint_map: arms and their prefixes.
        tip_link: frame between the fingertips, without prefix.
        style: how it is drawn.

        Raises:
            DescriptionError: the description is malformed, or has no such links.
        """
        tips = Tips(KinematicTree.from_urdf(urdf), joint_map, tip_link)
        self.frame = tips.frame
        self._style = Style() if style is None else style
        self._plans = PlanHistory(tips, self._style.history)
        self._trail = Trail(tips, self._style.trail_s)

    @property
    def style(self) -> Style:
        """How it is drawn; may be set at any time."""
        return self._style

    @style.setter
    def style(self, style: Style) -> None:
        self._style = style
        self._plans.keep, self._trail.keep_s = style.history, style.trail_s

    def add_chunk(self, chunk: ActionChunk, published_ns: int) -> None:
        """Takes a chunk.

        Raises:
            JointError: a joint of an arm is missing.
        """
        self._plans.add(chunk, published_ns)

    def add_joints(self, stamp_ns: int, names: Sequence[str], positions: Sequence[float]) -> None:
        """Takes measured positions [rad; m].

        Raises:
            JointError: a joint of an arm is missing, or the counts differ.
        """
        self._trail.add(stamp_ns, names, positions)

    def strokes(self, now_ns: int, following: Following | None) -> list[Stroke]:
        """What there is to draw.

        Args:
            now_ns: the present.
            following: what the arms follow; None: nothing.
        """
        if following is not None:
            self._plans.advance(now_ns, following.run_id, following.delay_ns)
        self._plans.drop_past(now_ns)
        style = self._style
        plans = plan_strokes(self._plans.plans, style.history, style.line_width)
        return plans + trail_strokes(self._trail.points(now_ns), style.line_width)

    def clear(self) -> None:
        """Forgets all motion."""
        self._plans.clear()
        self._trail.clear()


def following(run_id: str, *, executing: bool, delay_s: float) -> Following | None:
    """What the arms follow, from the arm controller's words."""
    return Following(run_id, int(delay_s * NANOSECONDS)) if executing and run_id else None
