"""The reference pages are those that the code gives."""

from pathlib import Path

import pytest

from references import PAGES, outdated, write
from references.endpoints import endpoints
from references.markdown import anchor, table
from references.messages import messages_page
from references.parameters import allowed, split_unit
from trossen_pi0_core.parameters import ArmControllerParameters, specs

ROOT = Path(__file__).resolve().parents[3]


def test_the_pages_are_up_to_date():
    assert outdated(ROOT) == [], "run `make docs` and commit what it writes"


def test_a_page_that_differs_is_outdated_and_written_anew(tmp_path, monkeypatch):
    monkeypatch.setitem(PAGES, "docs/training-options.md", lambda _: "new\n")
    for path in set(PAGES) - {"docs/training-options.md"}:
        monkeypatch.delitem(PAGES, path)
    (tmp_path / "docs").mkdir()
    assert outdated(tmp_path) == ["docs/training-options.md"]
    assert write(tmp_path) == ["docs/training-options.md"]
    assert (tmp_path / "docs/training-options.md").read_text() == "new\n"
    assert outdated(tmp_path) == []


def test_every_end_is_found_with_type_quality_and_nodes():
    found = {(each.kind, each.name): each for each in endpoints(ROOT)}
    status = found["publisher", "/arm_controller/status"]
    assert status.type == "trossen_pi0_msgs/msg/ControllerStatus"
    assert status.qos == "reliable, latched, depth 1"
    assert status.nodes == ("arm_controller",)
    assert found["service", "/replay/step"].type == "std_srvs/srv/Trigger"
    assert found["action", "/policy/run"].type == "trossen_pi0_msgs/action/RunPolicy"
    assert {n for k, n in found if k == "publisher" and n.startswith("/arm_controller")} == {
        "/arm_controller/command",
        "/arm_controller/external_effort",
        "/arm_controller/planned_command",
        "/arm_controller/status",
    }


@pytest.mark.parametrize("change", ["gone", "new"])
def test_a_topic_without_a_description_is_told(monkeypatch, change):
    from references import messages

    words = dict(messages.TOPICS)
    if change == "gone":
        del words["/joint_states"]
    else:
        words["/no/such/topic"] = "nothing"
    monkeypatch.setattr(messages, "TOPICS", words)
    with pytest.raises(ValueError, match="/joint_states" if change == "gone" else "/no/such"):
        messages_page(ROOT)


def test_words_for_ranges_and_units():
    by_name = {spec.name: spec for spec in specs(ArmControllerParameters)}
    assert allowed(by_name["mode"]) == "`autonomous`, `test`"
    assert allowed(by_name["temporal_ensemble_coefficient"]) == "-10 to 10, NaN"
    assert allowed(by_name["effort_limit"]) == "0 or more"
    assert split_unit("Rate of the loop [Hz].") == ("Rate of the loop.", "Hz")
    assert split_unit("Names of the arms.") == ("Names of the arms.", "")


def test_tables_and_anchors_are_what_markdown_takes():
    assert table(("a", "b"), [("x|y", "<file> `<code>`"), ("", "1")]) == [
        "| a | b |",
        "| --- | --- |",
        "| x\\|y | &lt;file> `<code>` |",
        "| | 1 |",
        "",
    ]
    assert anchor("Node arm_controller") == "node-arm_controller"
    assert anchor("From scratch: `sim_handover`") == "from-scratch-sim_handover"
