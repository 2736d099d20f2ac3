"""Which episodes the expert is to do, and which are there already."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from trossen_pi0_bringup.arguments import Arguments, parse_command_line
from trossen_pi0_bringup.record_expert import (
    PROMPTS,
    RECORD_EXPERT_ARGUMENTS,
    PlannedEpisode,
    free_name,
    planned_episodes,
    recorded_already,
)
from trossen_pi0_core.errors import ParameterError
from trossen_pi0_core.parameters.sim import VARIANTS
from trossen_pi0_data.episode_info import EpisodeInfo, SoftwareInfo

EPISODE = PlannedEpisode(7, "red_cube", "grab")
INFO = EpisodeInfo(
    name="expert_red_cube_000007",
    began_ns=0,
    began="2026-01-01T00:00:00Z",
    joint_names=(),
    dataset_joint_names=(),
    cameras={},
    topics={},
    software=SoftwareInfo("0.1.0", None, "jazzy", "3.12", None),
    state="finished",
    outcome="failure",
)


def planned(*words: str) -> list[PlannedEpisode]:
    return planned_episodes(Arguments(RECORD_EXPERT_ARGUMENTS, parse_command_line(list(words))))


def kept(folder: Path, name: str, **changes: object) -> None:
    (folder / name).mkdir()
    info = dataclasses.replace(INFO, name=name, **changes)  # pyright: ignore[reportArgumentType]
    info.write(folder / name, durable=False)


def test_every_variant_has_a_prompt() -> None:
    assert set(PROMPTS) == set(VARIANTS)


def test_fifty_red_cubes_are_the_default() -> None:
    episodes = planned("seed:=3")
    assert len(episodes) == 50
    assert [e.seed for e in episodes] == list(range(3, 53))
    assert {e.variant for e in episodes} == {"red_cube"}
    assert {e.prompt for e in episodes} == {"grab and handover the red cube"}
    assert episodes[4].name == "expert_red_cube_000007"


def test_variants_come_in_turn_with_their_prompts() -> None:
    episodes = planned("episodes:=5", "variants:=red_cube, blue_brick")
    assert [e.variant for e in episodes] == ["red_cube", "blue_brick"] * 2 + ["red_cube"]
    assert episodes[1].prompt == "grab and handover the blue brick"
    assert {e.variant for e in planned("variants:=all")} == set(VARIANTS)
    assert {e.prompt for e in planned("variants:=all", "prompt:=do it")} == {"do it"}


def test_unknown_variants_are_named() -> None:
    with pytest.raises(ParameterError, match=r"variants: \['green_cube'\] are not among"):
        planned("variants:=red_cube,green_cube")


def test_a_finished_episode_is_there_whatever_its_outcome(tmp_path: Path) -> None:
    assert recorded_already(tmp_path, EPISODE) is None
    kept(tmp_path, EPISODE.name)
    info = recorded_already(tmp_path, EPISODE)
    assert info is not None
    assert info.outcome == "failure"


def test_an_unfinished_episode_is_done_again_beside_it(tmp_path: Path) -> None:
    kept(tmp_path, EPISODE.name, state="interrupted")
    (tmp_path / f"{EPISODE.name}_try2").mkdir()  # without its file
    assert recorded_already(tmp_path, EPISODE) is None
    name = free_name(tmp_path, EPISODE)
    assert name == f"{EPISODE.name}_try3"
    kept(tmp_path, name)
    assert recorded_already(tmp_path, EPISODE) is not None


def test_other_seeds_and_names_do_not_count(tmp_path: Path) -> None:
    kept(tmp_path, "expert_red_cube_0000070")
    kept(tmp_path, "expert_red_cube_000007_copy")
    kept(tmp_path, "expert_blue_brick_000007")
    assert recorded_already(tmp_path, EPISODE) is None
