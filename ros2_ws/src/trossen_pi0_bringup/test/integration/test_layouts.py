"""The layouts for RViz, PlotJuggler and Foxglove ask for what the messages have."""

import importlib
import re

import pytest

from fixtures.layouts import (
    TOPIC_TYPES,
    all_topics,
    foxglove_layout,
    foxglove_paths,
    plotjuggler_layout,
    plotjuggler_topics,
    rviz_config,
    rviz_topics,
    split_path,
)
from trossen_pi0_bringup.nodes import shipped
from trossen_pi0_core.contract import CAMERAS
from trossen_pi0_core.joints import JointMap

NUMBERS = re.compile(r"^(u?int(8|16|32|64)|float|double|boolean|octet)$")


def field_type(message_type, fields):
    """ROS type of a field that is reached through others; fails when there is none."""
    kind = message_type
    for field in fields:
        name, _, index = field.partition("[")
        package, _, message = kind.split("/")
        known = getattr(importlib.import_module(f"{package}.msg"), message)
        known = known.get_fields_and_field_types()
        assert name in known, f"{kind} has no {name!r}, only {sorted(known)}"
        kind = known[name]
        sequence = re.fullmatch(r"sequence<(.+)>", kind)
        if index:
            assert sequence, f"{name} of {message_type} is no list"
            kind = sequence.group(1)
        kind = re.sub(r"^(\w+)/(\w+)$", r"\1/msg/\2", kind)
    return kind


def assert_number(message_type, fields):
    kind = field_type(message_type, fields)
    assert NUMBERS.match(kind), f"{'.'.join(fields)} of {message_type} is {kind}, no number"


def test_layouts_are_installed():
    for kind, name in (
        ("rviz", "bimanual.rviz"),
        ("layouts", "plotjuggler.xml"),
        ("layouts", "foxglove.json"),
    ):
        assert shipped(kind, name).is_file()


def test_every_topic_of_a_layout_is_known():
    assert all_topics() <= set(TOPIC_TYPES)


def test_rviz_shows_robot_plans_frames_and_four_pictures():
    manager = rviz_config()["Visualization Manager"]
    displays = [display["Class"].rpartition("/")[2] for display in manager["Displays"]]
    assert displays == ["Grid", "RobotModel", "MarkerArray", "TF", *["Image"] * 4]
    assert all(display["Enabled"] for display in manager["Displays"])
    assert manager["Global Options"]["Fixed Frame"] == "world"
    topics = {wanted.topic: wanted.type for wanted in rviz_topics()}
    assert topics.items() <= TOPIC_TYPES.items()
    assert {f"/{camera}/color/image_raw" for camera in CAMERAS} < set(topics)


def test_plotjuggler_curves_are_fields_of_the_topics_it_subscribes_to():
    names = JointMap().urdf_names
    curves = [curve.attrib["name"] for curve in plotjuggler_layout().iter("curve")]
    assert len(curves) > 60
    for curve in curves:
        (topic,) = [t for t in plotjuggler_topics() if curve.startswith(f"{t}/")]
        kind, fields = TOPIC_TYPES[topic], curve.removeprefix(f"{topic}/").split("/")
        if kind == "sensor_msgs/msg/JointState":  # it has a series of each joint
            joint, quantity = fields
            assert joint in names
            assert quantity in ("position", "velocity", "effort")
        else:
            assert_number(kind, fields)
    plotted = {curve for curve in curves if curve.endswith("/position")}
    for name in names:
        for topic in ("/joint_states", "/arm_controller/command"):
            assert f"{topic}/{name}/position" in plotted


def test_plotjuggler_splits_its_space_in_as_many_parts_as_there_are():
    for splitter in plotjuggler_layout().iter("DockSplitter"):
        sizes = [float(size) for size in splitter.attrib["sizes"].split(";")]
        assert len(sizes) == len(splitter) == int(splitter.attrib["count"])
        assert sum(sizes) == pytest.approx(1.0, abs=1e-4)


def test_foxglove_paths_are_fields_of_the_messages():
    paths = list(foxglove_paths())
    assert len(paths) > 50
    for path in paths:
        topic, fields = split_path(path)
        if fields:
            assert_number(TOPIC_TYPES[topic], fields)


def test_foxglove_joints_have_their_index_in_the_suite_s_order():
    panels = foxglove_layout()["configById"]
    for arm, first in (("left", 0), ("right", 7)):
        paths = panels[f"Plot!{arm}"]["paths"]
        assert len(paths) == 14
        for path in paths:
            topic, (field,) = split_path(path["value"])
            found = re.fullmatch(r"position\[(\d+)\]", field)
            assert found is not None
            index = int(found.group(1))
            joint, quantity = path["label"].split()
            assert JointMap().urdf_names[index] == f"follower_{arm}_{joint}"
            assert quantity == ("measured" if topic == "/joint_states" else "commanded")
            assert first <= index < first + 7


def test_foxglove_places_each_panel_once():
    layout = foxglove_layout()

    def leaves(node):
        if isinstance(node, str):
            return [node]
        assert 0 < node["splitPercentage"] < 100
        assert node["direction"] in ("row", "column")
        return leaves(node["first"]) + leaves(node["second"])

    tabs = [t["layout"] for p in layout["configById"].values() for t in p.get("tabs", ())]
    placed = [name for node in (layout["layout"], *tabs) for name in leaves(node)]
    assert sorted(placed) == sorted(layout["configById"])
