"""Between ROS messages and what is drawn."""

from __future__ import annotations

from collections.abc import Iterable

from geometry_msgs.msg import Point, Pose, Vector3
from std_msgs.msg import ColorRGBA, Header
from visualization_msgs.msg import Marker, MarkerArray

from trossen_pi0_core.contract import NANOSECONDS
from trossen_pi0_monitor.drawing import Array, Rgba, Stroke
from trossen_pi0_monitor.status_text import BAD, BUSY, GOOD, ControllerView, PolicyView
from trossen_pi0_msgs.msg import ControllerStatus, PolicyStatus
from trossen_pi0_ros.convert import duration_msg, time_ns
from trossen_pi0_ros.states import state_names

STATUS_GROUP = "status"

LEVEL_COLOURS: dict[str, Rgba] = {
    GOOD: (0.90, 0.95, 0.90, 1.0),
    BUSY: (1.0, 0.75, 0.2, 1.0),
    BAD: (1.0, 0.25, 0.2, 1.0),
}


_POLICY, _CONTROLLER = state_names(PolicyStatus), state_names(ControllerStatus)


def policy_view(message: PolicyStatus, now_ns: int) -> PolicyView:
    """What is shown of the policy."""
    return PolicyView(
        state=_POLICY.get(message.state, str(message.state)),
        reason=message.reason,
        backend=message.backend,
        prompt=message.prompt,
        execution=message.execution,
        chunk_id=message.chunk_id,
        latency_s=message.inference_latency_s,
        age_s=(now_ns - time_ns(message.header.stamp)) / NANOSECONDS,
    )


def controller_view(message: ControllerStatus, now_ns: int) -> ControllerView:
    """What is shown of the arm controller."""
    return ControllerView(
        state=_CONTROLLER.get(message.state, str(message.state)),
        reason=message.reason,
        mode=message.mode,
        chunk_age_s=message.chunk_age_s,
        age_s=(now_ns - time_ns(message.header.stamp)) / NANOSECONDS,
    )


class MarkerWriter:
    """Makes the arrays of one topic: an id stands for one thing, and what is gone is deleted."""

    def __init__(self, lifetime_s: float) -> None:
        """Args:
        lifetime_s: how long markers stay after the last array, should it be the last for ever.
        """
        self._lifetime = duration_msg(int(lifetime_s * NANOSECONDS))
        self._shown: set[tuple[str, int]] = set()
        self._points: dict[tuple[str, int], tuple[Array, list[Point]]] = {}

    def array(
        self, strokes: Iterable[Stroke], texts: Iterable[Marker], header: Header
    ) -> MarkerArray:
        """One array that shows these and deletes what was shown before and is not among them."""
        markers = [self._line(stroke, header) for stroke in strokes]
        for text in texts:
            text.header, text.lifetime = header, self._lifetime
            markers.append(text)
        now = {(marker.ns, marker.id) for marker in markers}
        for group, number in sorted(self._shown - now):
            gone = Marker(header=header, ns=group, id=number, action=Marker.DELETE)
            markers.append(gone)
            self._points.pop((group, number), None)
        self._shown = now
        return MarkerArray(markers=markers)

    def _line(self, stroke: Stroke, header: Header) -> Marker:
        key = (stroke.group, stroke.number)
        known = self._points.get(key)
        if known is None or known[0] is not stroke.points:
            points = [Point(x=x, y=y, z=z) for x, y, z in stroke.points.tolist()]
            known = self._points[key] = stroke.points, points
        return Marker(
            header=header,
            ns=stroke.group,
            id=stroke.number,
            type=Marker.LINE_LIST if stroke.pairs else Marker.LINE_STRIP,
            action=Marker.ADD,
            pose=_UNMOVED,
            scale=Vector3(x=stroke.width, y=0.0, z=0.0),
            color=_colour(stroke.rgba),
            points=known[1],
            lifetime=self._lifetime,
            frame_locked=True,
        )


def text_marker(lines: list[str], level: str, position: tuple[float, ...], height: float) -> Marker:
    """The status as text that faces the viewer, at a position [m]; letters of this height [m]."""
    marker = Marker(ns=STATUS_GROUP, id=0, type=Marker.TEXT_VIEW_FACING, action=Marker.ADD)
    marker.pose.position = Point(x=position[0], y=position[1], z=position[2])
    marker.scale.z = height
    marker.color = _colour(LEVEL_COLOURS[level])
    marker.text = "\n".join(lines)
    marker.frame_locked = True
    return marker


def _colour(rgba: Rgba) -> ColorRGBA:
    red, green, blue, alpha = rgba
    return ColorRGBA(r=red, g=green, b=blue, a=alpha)


_UNMOVED = Pose()
