"""Settings of an evaluation, its figures, table, file and page."""

import argparse
import dataclasses
import json
import math

import pytest

from trossen_pi0_bringup.evaluation.page import render
from trossen_pi0_bringup.evaluation.results import (
    Episode,
    Evaluation,
    failures,
    load,
    markdown,
    save,
    summary,
)
from trossen_pi0_bringup.evaluation.settings import Choices, Setting, coefficient
from trossen_pi0_bringup.virtual.figures import Figures
from trossen_pi0_core.errors import ParameterError
from trossen_pi0_policy.cli.arguments import one_of, several
from trossen_pi0_sim.progress import Stage

GOOD = Figures(
    seed=1,
    success=True,
    reason="",
    stage=Stage.PLACED,
    duration_s=12.0,
    pause_s=0.5,
    jerk={"arms": math.nan},
    measured_jerk={"arms": 20.0},
    jump_rad=0.05,
    mean_jump_rad=0.01,
    position_events=1,
    speed_events=2,
    acceleration_events=3,
    slowdown_s=0.1,
    starvations=0,
    rejected=0,
    chunks=17,
    tracking_rad=0.2,
    tracking_rms_rad=0.1,
)
BAD = dataclasses.replace(
    GOOD, seed=2, success=False, reason="the object fell <off>", stage=Stage.LIFTED, duration_s=40.0
)
PLAIN, RTC = Setting(), Setting(execution="rtc", ensemble=0.01, delay_ms=300)


@pytest.fixture
def evaluation() -> Evaluation:
    episodes = (Episode(PLAIN, GOOD), Episode(PLAIN, BAD, "seed2.mp4"), Episode(RTC, GOOD))
    return Evaluation("a policy", {"way": "virtual time"}, episodes)


def test_sums():
    found = summary([Episode(PLAIN, GOOD), Episode(PLAIN, BAD)])
    assert (found.episodes, found.successes, found.rate) == (2, 1, 0.5)
    assert found.interval == pytest.approx((0.0945, 0.9055), abs=1e-3)
    assert found.score == pytest.approx((1.0 + 3 / 5) / 2)
    assert found.reached[Stage.LIFTED] == 1.0
    assert found.reached[Stage.HANDED_OVER] == 0.5
    assert found.duration_s == 12.0  # of the success alone
    assert found.limit_events == 6.0
    assert math.isnan(found.aim_m)
    aims = (0.01, math.nan, 0.03, 0.2)
    assert summary([Episode(PLAIN, GOOD, aim_m=aim) for aim in aims]).aim_m == 0.03


def test_table_and_failures(evaluation):
    lines = markdown(evaluation).splitlines()
    assert len(lines) == 4
    assert lines[2].startswith(
        "| red_cube | async | 25 | off | 0 | 1/2 (9 % to 91 %) | 80 % | 12.0"
    )
    assert lines[3].startswith("| red_cube | rtc | 25 | 0.01 | 300 | 1/1 (21 % to 100 %) | 100 % |")
    (line,) = failures(evaluation)
    assert line.endswith("seed 2: the object fell <off>")


def test_figures_are_kept(evaluation, tmp_path):
    save(evaluation, tmp_path / "evaluation.json")
    text = (tmp_path / "evaluation.json").read_text()
    assert "NaN" not in text
    again = load(tmp_path / "evaluation.json")
    assert math.isnan(again.episodes[0].figures.jerk["arms"])
    assert markdown(again) == markdown(evaluation)
    assert again.settings == evaluation.settings
    assert again.episodes[1].video == "seed2.mp4"
    assert again.how == evaluation.how
    assert math.isnan(again.episodes[0].aim_m)
    aimed = dataclasses.replace(evaluation.episodes[0], aim_m=0.0412)
    save(dataclasses.replace(evaluation, episodes=(aimed,)), tmp_path / "evaluation.json")
    assert load(tmp_path / "evaluation.json").episodes[0].aim_m == 0.0412
    assert markdown(load(tmp_path / "evaluation.json")).endswith("| 41 |")


@pytest.mark.parametrize("content", ["[]", "{}", '{"format": 99}', "no json"])
def test_other_files_are_refused(content, tmp_path):
    (tmp_path / "other.json").write_text(content)
    with pytest.raises(ParameterError, match=r"other\.json: (holds no evaluation|format 99)"):
        load(tmp_path / "other.json")


def test_a_lost_field_is_told(evaluation, tmp_path):
    save(evaluation, tmp_path / "evaluation.json")
    content = json.loads((tmp_path / "evaluation.json").read_text())
    del content["episodes"][0]["figures"]["stage"]
    (tmp_path / "evaluation.json").write_text(json.dumps(content))
    with pytest.raises(ParameterError, match="stage"):
        load(tmp_path / "evaluation.json")


def test_the_page_shows_failures_videos_and_others(evaluation):
    other = dataclasses.replace(evaluation, episodes=evaluation.episodes[:1])
    html = render(evaluation, {"before": other})
    assert "2 of 3 episodes succeeded: 66.7 %" in html
    assert "the object fell &lt;off&gt;" in html
    assert '<video controls preload="none" src="seed2.mp4">' in html
    assert "came as far as &#x27;lifted&#x27;" in html
    assert "before" in html
    assert "1/1 (21 % to 100 %)" in html
    assert html.count("data:image/png;base64,") == 1


def test_settings_in_all_combinations_or_one_by_one():
    given = (("red_cube", "blue_brick"), ("async", "rtc"), (25, 10), (None, 0.1), (0, 300))
    assert len(Choices(*given).combined()) == 32
    alone = Choices(*given).one_by_one()
    assert alone[0] == Setting()
    assert set(alone) == {
        Setting(),
        Setting("blue_brick"),
        Setting(rate_of_inference=10),
        Setting(ensemble=0.1),
        Setting(delay_ms=300),
        Setting(execution="rtc"),
        Setting(execution="rtc", delay_ms=300),
    }
    assert len(alone) == 7


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"variant": "green"}, "variant: 'green' is not one of"),
        ({"execution": "fast"}, "execution: 'fast' is not one of"),
        ({"delay_ms": -1}, "delay_ms must lie in 0..5000, got -1"),
    ],
)
def test_settings_that_are_not_allowed(changed, told):
    with pytest.raises(ParameterError, match=told):
        Setting(**changed)


def test_words_of_the_command_line():
    assert several(coefficient)("off,0.1,0.1") == (None, 0.1)
    for text in ("nan", "inf", "much"):
        with pytest.raises(argparse.ArgumentTypeError, match="need a number or 'off'"):
            coefficient(text)
    with pytest.raises(argparse.ArgumentTypeError, match="need some of a,b, got 'c'"):
        several(one_of(("a", "b")))("a,c")


def test_parameters_of_the_nodes():
    assert math.isnan(PLAIN.controller().temporal_ensemble_coefficient)
    assert RTC.controller().temporal_ensemble_coefficient == 0.01
    parameters = RTC.policy(30.0)
    assert (parameters.execution, parameters.max_duration_s) == ("rtc", 30.0)
    assert parameters.prompt == "grab and handover the red cube"
