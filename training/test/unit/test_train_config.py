"""Configs by name, overrides on the command line, and what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from trossen_pi0_core.errors import ParameterError
from trossen_pi0_policy.pi0.config import get_config
from trossen_pi0_training.config.command_line import parse_config
from trossen_pi0_training.config.fields import DataConfig, OptimizerConfig, TrainConfig
from trossen_pi0_training.config.model import model_config
from trossen_pi0_training.config.registry import find_config, known_configs

OWN = """
from dataclasses import replace
from trossen_pi0_training.config.registry import find_config
CONFIGS = [replace(find_config("debug"), name="{name}", batch_size=2)]
"""


def parse(*words: str) -> TrainConfig:
    return parse_config(words, "train")


def test_the_configs_of_the_reference_are_there_with_its_figures():
    config = find_config("pi0_trossen_transfer_block")
    assert config.model == "pi0_lora"
    assert (config.batch_size, config.num_train_steps, config.ema_decay) == (8, 20_000, None)
    assert config.data.default_prompt == "grab and handover the red cube"
    assert config.optimizer == OptimizerConfig(1000, 2.5e-5, 30_000, 2.5e-6)
    steps = {
        "pi05_trossen_transfer_block": 80_000,
        "pi0_trossen_organize_tools": 150_000,
        "pi05_trossen_organize_tools": 100_000,
        "pi05_trossen_multitask_training": 100_000,
    }
    for name, count in steps.items():
        config = find_config(name)
        assert (config.num_train_steps, config.batch_size) == (count, 8)
        assert get_config(config.model).pi05 == name.startswith("pi05")
        assert model_config(config).has_lora
    assert find_config("pi05_trossen_multitask_training").data.prompt_from_task


def test_fields_are_overridden_on_the_command_line(tmp_path):
    words = ["--exp-name", "x", "--data.repo-id", "lab/cube", "--optimizer.peak-lr", "1e-3"]
    folders = ["--checkpoint-base", str(tmp_path / "c"), "--assets-base", str(tmp_path / "a")]
    config = parse("debug", *words, *folders, "--resume")
    assert config.data.repo_id == "lab/cube"
    assert config.optimizer.peak_lr == 1e-3
    assert config.resume
    assert config.run_folder == tmp_path / "c" / "debug" / "x"
    assert config.stats_folder == tmp_path / "a" / "debug" / "lab" / "cube"
    assert config.batch_size == find_config("debug").batch_size


def test_four_cameras_are_taken_by_the_model():
    cameras = ("cam_high", "cam_left_wrist", "cam_right_wrist", "cam_low")
    config = parse("debug", "--data.cameras", *cameras)
    assert model_config(config).cameras[3] == "low_0_rgb"


def test_a_users_file_adds_configs(tmp_path):
    file = tmp_path / "own.py"
    file.write_text(OWN.format(name="mine"))
    assert parse("mine", "--config-file", str(file)).batch_size == 2
    assert "mine" not in known_configs()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (OWN.format(name="debug"), "there is a config 'debug' already"),
        ("CONFIGS = 3", "must define CONFIGS, a list of TrainConfig, got 3"),
        ("1 / 0", "cannot be run: ZeroDivisionError"),
        (None, "must be a Python file"),
    ],
)
def test_a_bad_file_is_refused(tmp_path, text, said):
    file = tmp_path / "own.py"
    if text is not None:
        file.write_text(text)
    with pytest.raises(ParameterError, match=said):
        known_configs(file)


def test_a_wrong_name_is_answered_by_the_closest():
    with pytest.raises(ParameterError, match="did you mean 'pi0_trossen_transfer_block'"):
        parse("pi0_trossen_transfer_blok")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--batch-size", "0"], "batch_size must be 1 or more, got 0"),
        (["--ema-decay", "1.0"], "ema_decay must lie in [0, 1)"),
        (["--overwrite", "--resume"], "overwrite and resume exclude each other"),
        (["--data.cameras", "cam_low"], "cameras must be the first of"),
        (["--optimizer.decay-steps", "2"], "decay_steps must be more than warmup_steps"),
        (["--exp-name", "../other"], "exp_name must be one folder's name other than . and .., got"),
        (["--exp-name", "/tmp/x"], "exp_name must be one folder's name"),
        (["--exp-name", "."], "exp_name must be one folder's name"),
        (["--exp-name", "a/b"], "exp_name must be one folder's name"),
        (["--data.repo-id", "lab/../../x"], "repo_id must be names joined by /"),
        (["--data.asset-id", "/etc"], "asset_id must be names joined by /"),
        (["--nonsense", "1"], "Unrecognized options: --nonsense"),
    ],
)
def test_bad_values_are_refused_with_what_is_allowed(words, said, capsys):
    with pytest.raises(SystemExit) as ended:
        parse("debug", *words)
    assert ended.value.code == 2
    text = " ".join(capsys.readouterr().err.replace("│", " ").split())
    assert said in text


def test_prompts_come_from_one_place():
    with pytest.raises(ParameterError, match="exclude each other"):
        DataConfig(default_prompt="x", prompt_from_task=True)


def test_paths_are_kept_as_paths():
    assert isinstance(parse("debug", "--data.root", "/x").data.root, Path)
