"""A picture of the kit with the planned gripper paths, as RViz would show them, without RViz."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from trossen_pi0_bringup.scene_moment import Moment
from trossen_pi0_core.joints import JointMap, select_joints
from trossen_pi0_monitor.drawing import GONE, NEWEST, OLDEST, OPENING, Rgba, Stroke
from trossen_pi0_monitor.messages import LEVEL_COLOURS, controller_view, policy_view
from trossen_pi0_monitor.status_text import status_level, status_lines
from trossen_pi0_monitor.view import MotionView, Style, following
from trossen_pi0_ros.convert import chunk_from_msg, time_ns
from trossen_pi0_sim.overview import OverviewRenderer, Tube

_LETTERS, _MARGIN, _SPACING = 19, 14, 7  # pixels
_BOX = (20, 22, 26, 170)
_WHITE = (235, 238, 240)

_LEGEND: tuple[tuple[str, Rgba], ...] = (
    ("newest chunk: solid where executed", NEWEST),
    ("the chunk before", OLDEST),
    ("planned opening of the grippers", OPENING),
    ("path gone in the last 3 s", GONE),
)

_FAINT_SHARE = 0.6  # what is translucent is drawn a little stronger than in RViz


def draw_scene(moment: Moment, urdf: str, path: Path, title: str) -> None:
    """Renders a moment to a PNG file.

    Args:
        moment: to show.
        urdf: description of the robot, by which the paths are worked out.
        path: of the file.
        title: first line of the text.

    Raises:
        DescriptionError: a description that is malformed, or of another robot.
        JointError: a joint is missing.
        RenderError: there is no OpenGL.
    """
    truth = moment.truth
    at, turned = truth.object_pose.position, truth.object_pose.orientation
    names = JointMap().urdf_names
    picture = _renderer().render(
        select_joints(moment.joint_names, moment.positions[-1], names),
        (at.x, at.y, at.z, turned.w, turned.x, turned.y, turned.z),
        truth.variant,
        [_tube(stroke) for stroke in moment_strokes(moment, urdf)],
    )
    policy = policy_view(moment.policy, moment.now_ns)
    controller = controller_view(moment.controller, moment.now_ns)
    lines = [title, *status_lines(policy, controller)]
    annotated(picture, lines, LEVEL_COLOURS[status_level(policy, controller)]).save(path)


def moment_strokes(moment: Moment, urdf: str) -> list[Stroke]:
    """What RViz would show at that moment."""
    view = MotionView(urdf, JointMap(), style=Style(history=max(1, len(moment.plans) - 1)))
    for message in moment.plans:
        view.add_chunk(chunk_from_msg(message), time_ns(message.header.stamp))
    for stamp_ns, positions in zip(moment.stamps_ns, moment.positions, strict=True):
        view.add_joints(stamp_ns, moment.joint_names, positions.tolist())
    status = moment.controller
    run = following(status.run_id, executing=True, delay_s=status.chunk_delay_s)
    return view.strokes(moment.now_ns, run)


def annotated(picture: NDArray[np.uint8], lines: Sequence[str], colour: Rgba) -> Image.Image:
    """The picture with the status at the top and a legend of the lines at the bottom.

    Args:
        picture: uint8 RGB, shape (height, width, 3).
        lines: of the status; the first one is white, the others have the colour of its level.
        colour: of them.
    """
    image = Image.fromarray(picture)
    draw = ImageDraw.Draw(image, "RGBA")
    font = ImageFont.load_default(_LETTERS)
    rows = [(line, None) for line in lines]
    _write(draw, font, rows, (_MARGIN, _MARGIN), [_WHITE, *[_bytes(colour)] * (len(lines) - 1)])
    height = len(_LEGEND) * (_LETTERS + _SPACING) + _SPACING
    corner = (_MARGIN, image.height - height - _MARGIN)
    _write(draw, font, list(_LEGEND), corner, [_WHITE] * len(_LEGEND))
    return image


def _write(
    draw: ImageDraw.ImageDraw,
    font: ImageFont.ImageFont | ImageFont.FreeTypeFont,
    rows: Sequence[tuple[str, Rgba | None]],
    corner: tuple[int, int],
    colours: Sequence[tuple[int, int, int]],
) -> None:
    """Lines of text on a dark box, each behind a stroke of its colour if it has one."""
    left, top = corner
    step = _LETTERS + _SPACING
    indent = 46 if any(stroke for _, stroke in rows) else 0
    width = max(draw.textlength(text, font) for text, _ in rows) + indent + 2 * _SPACING
    draw.rounded_rectangle((left, top, left + width, top + len(rows) * step + _SPACING), 5, _BOX)
    for i, ((text, stroke), colour) in enumerate(zip(rows, colours, strict=True)):
        x, y = left + _SPACING, top + _SPACING + i * step
        if stroke:
            middle = y + _LETTERS // 2 + 1
            draw.line((x, middle, x + 34, middle), _bytes(stroke), 5)
        draw.text((x + indent, y), text, colour, font)


def _bytes(rgba: Rgba) -> tuple[int, int, int]:
    red, green, blue = (round(255 * value) for value in rgba[:3])
    return red, green, blue


def _tube(stroke: Stroke) -> Tube:
    rgba = stroke.rgba if stroke.rgba[3] > 0.5 else (*stroke.rgba[:3], _FAINT_SHARE)
    return Tube(stroke.points, rgba, stroke.width / 2, stroke.pairs)


@functools.cache
def _renderer() -> OverviewRenderer:
    return OverviewRenderer()
