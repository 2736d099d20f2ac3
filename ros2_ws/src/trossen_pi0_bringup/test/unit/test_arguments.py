"""Launch arguments: parsing, refusals, and what they set on the nodes."""

import math
from pathlib import Path

import pytest
import yaml

from trossen_pi0_bringup.arguments import (
    LAUNCH_ARGUMENTS,
    NODE_PARAMETERS,
    Arguments,
    parse_command_line,
)
from trossen_pi0_bringup.sim import with_policy
from trossen_pi0_core.errors import ParameterError
from trossen_pi0_core.parameters import from_values

CONFIG = Path(__file__).parents[2] / "config"


def arguments(*words: str) -> Arguments:
    return Arguments(LAUNCH_ARGUMENTS, parse_command_line(list(words)))


def test_prompt_with_spaces_reaches_the_policy_node():
    given = arguments("prompt:=hand over: the 'blue' brick")
    assert given.node_parameters("policy") == {"prompt": "hand over: the 'blue' brick"}


def test_control_rate_sets_rows_and_recorded_commands_alike():
    given = arguments("control_rate:=50")
    assert given.node_parameters("policy") == {"control_rate": 50.0}
    assert given.node_parameters("arm_controller") == {"command_rate": 50.0}


def test_execution_reaches_the_policy_node():
    assert arguments("execution:=rtc").node_parameters("policy") == {"execution": "rtc"}
    assert arguments()["execution"] == "async"


def test_arguments_not_named_set_nothing():
    given = arguments()
    assert not any(given.node_parameters(node) for node in NODE_PARAMETERS)
    assert given["sim"] is True
    assert given["seed"] == 0


@pytest.mark.parametrize(
    ("words", "added"),
    [
        ([], ["backend:=pi0", "checkpoint:=shipped://sim_handover"]),
        (["seed:=3", "arm:=both"], ["backend:=pi0", "checkpoint:=shipped://sim_handover"]),
        (["checkpoint:=mine"], ["backend:=pi0"]),
        (["backend:=expert"], []),
        (["backend:=pi0"], []),
        (["arm:=right"], []),
    ],
)
def test_make_sim_takes_the_policy_that_comes_with_the_suite(words, added):
    assert with_policy(words) == [*words, *added]


@pytest.mark.parametrize("text", ["nan", "NaN", ".nan"])
def test_no_ensembling_can_be_typed(text):
    assert math.isnan(
        arguments(f"temporal_ensemble_coefficient:={text}")["temporal_ensemble_coefficient"]
    )


def test_unknown_argument_names_the_closest():
    with pytest.raises(ParameterError, match=r"unknown argument 'promt', did you mean 'prompt'\?"):
        arguments("promt:=x")


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("backend:=pi7", r"backend: 'pi7' is not one of \['openpi', 'pi0', 'expert', 'replay'\]"),
        ("execution:=turbo", r"execution: 'turbo' is not one of \['async', 'blocking', 'rtc'\]"),
        ("rate_of_inference:=0", r"rate_of_inference: 0 lies outside \[1, 1000\]"),
        ("rate_of_inference:=2.5", r"rate_of_inference: need int, got 2.5 \(float\)"),
        ("sim:=maybe", r"sim: need bool, got 'maybe' \(str\)"),
        ("policy_port:=99999", r"policy_port: 99999 lies outside \[1, 65535\]"),
        ("blend_s:=nan", r"blend_s: need a finite number, got nan"),
        ("variant:=green", r"variant: 'green' is not one of"),
        ("seed:=[1", r"seed: cannot read '\[1'"),
    ],
)
def test_refused_values_name_what_is_allowed(word, message):
    with pytest.raises(ParameterError, match=message):
        arguments(word)


@pytest.mark.parametrize("word", ["prompt", "prompt=x", ":=x"])
def test_words_of_another_form_are_refused(word):
    with pytest.raises(ParameterError, match="name:=value"):
        parse_command_line([word])


NODE_FILES = sorted(file for file in CONFIG.glob("*.yaml") if file.stem != "diagnostics")


@pytest.mark.parametrize("file", NODE_FILES, ids=lambda file: file.stem)
def test_shipped_yaml_fits_its_dataclass(file):
    content = yaml.safe_load(file.read_text())
    assert list(content) == ["/**"]
    node = file.stem.removesuffix("_sim").removesuffix("_expert")
    from_values(NODE_PARAMETERS[node], content["/**"]["ros__parameters"])


def test_lists_of_names_need_no_brackets():
    given = arguments("cameras:=cam_high, cam_low")
    assert given["cameras"] == ("cam_high", "cam_low")
    assert arguments("cameras:=[cam_low]")["cameras"] == ("cam_low",)
    with pytest.raises(ParameterError, match="cameras: 'cam_top' is not one of"):
        arguments("cameras:=cam_top")


def test_every_default_can_be_typed_again():
    for argument in LAUNCH_ARGUMENTS:
        if not argument.default:
            word = f"{argument.name}:={argument.default_text}"
            assert (
                argument.default_text == "nan"
                or arguments(word)[argument.name] == argument.spec.default
            )
