"""The processes that make simulated episodes: one seed at a time becomes a shard."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timezone
from enum import Enum
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from trossen_pi0_core.errors import DatasetError, TrossenPi0Error
from trossen_pi0_core.joints import JointMap
from trossen_pi0_data.episode_info import SUCCESS
from trossen_pi0_sim.astray import go_astray
from trossen_pi0_sim.expert import HandoverExpert
from trossen_pi0_sim.looks import Looks
from trossen_pi0_sim.progress import Stage
from trossen_pi0_sim.rollout import EpisodeResult, Sway, begin, expert_rows
from trossen_pi0_sim.tasks import episode_rng
from trossen_pi0_sim.world import World
from trossen_pi0_training import layout
from trossen_pi0_training.shards import Frame, Origin, write_shard

_LOOK_STREAM, _SWAY_STREAM, _ASTRAY_STREAM, _LOOKS_STREAM = 2, 3, 4, 5
"""Of an episode's random numbers; those before them are the object's."""


_BEGINNING_ROWS, _BEGINNING_LOOKS = 60, 12
"""Frames of a beginning, and those that have pictures of their own: 50 rows of a chunk, and a few
moments that it may begin at."""


class Extent(Enum):
    """How far an episode goes."""

    WHOLE = "whole"
    APPROACH = "approach"
    """Until the object is lifted."""
    BEGINNING = "beginning"
    """Two seconds: where to go from one look. Its later frames repeat the last pictures."""


@dataclass(frozen=True)
class Scene:
    """An episode to make.

    Attributes:
        seed: of the episode.
        variant: scenario.
        prompt: instruction.
        folder: the shard to write.
        size: width and height of the pictures [pixels].
        cameras: those to render.
        looks: chance that light, colours, cameras, clutter and textures are drawn anew.
        sway_rad: standard deviation of the offsets in what the arms are told [rad].
        recovery: chance that it begins where a grasp has gone wrong.
        extent: how far it goes.
        codec: of the videos.
        fps: frames a second.
        picture_step: frames that show the same pictures.
    """

    seed: int
    variant: str
    prompt: str
    folder: Path
    size: tuple[int, int]
    cameras: tuple[str, ...]
    looks: float
    sway_rad: float
    recovery: float
    extent: Extent
    codec: str
    fps: int
    picture_step: int

    @property
    def name(self) -> str:
        """Of the episode."""
        return f"{self.variant}-{self.seed}"


def make_episode(scene: Scene) -> str:
    """Makes an episode; returns why it is not one to learn from, or nothing.

    Raises:
        OSError: the shard cannot be written.
    """
    began = datetime.now(timezone.utc).isoformat(timespec="seconds")
    outcome = SUCCESS if scene.extent is Extent.WHOLE else layout.CUT
    origin = Origin(scene.name, "", {}, outcome, began, scene.seed, {"trossen_pi0_sim": _version()})
    try:
        write_shard(
            scene.folder,
            _frames(scene),
            origin=origin,
            task=scene.prompt,
            fps=scene.fps,
            joint_names=JointMap().dataset_names,
            cameras=scene.cameras,
            codec=scene.codec,
        )
    except TrossenPi0Error as error:
        return str(error)
    return ""


def _frames(scene: Scene) -> Iterator[Frame]:
    """The frames of an episode; raises DatasetError at the end of one that fails."""
    world, expert, looks = _stage()
    begin(world, scene.seed, scene.variant)
    if episode_rng(scene.seed, _LOOKS_STREAM).random() < scene.looks:
        looks.draw(episode_rng(scene.seed, _LOOK_STREAM))
    else:
        looks.restore()
    sway = Sway(episode_rng(scene.seed, _SWAY_STREAM), scene.sway_rad) if scene.sway_rad else None
    rng = episode_rng(scene.seed, _ASTRAY_STREAM)
    motion = go_astray(world, expert, rng) if rng.random() < scene.recovery else None
    ended: list[EpisodeResult] = []

    def rows() -> Iterator[NDArray[np.float64]]:
        until = "lifted" if scene.extent is Extent.APPROACH else ""
        driven = expert_rows(world, expert, sway=sway, motion=motion, until=until)
        ended.append((yield from driven))

    beginning = scene.extent is Extent.BEGINNING
    images: dict[str, NDArray[np.uint8]] = {}
    for number, action in enumerate(
        itertools.islice(rows(), _BEGINNING_ROWS if beginning else None)
    ):
        if number % scene.picture_step == 0 and not (beginning and number >= _BEGINNING_LOOKS):
            images = {camera: world.render(camera, *scene.size) for camera in scene.cameras}
        yield Frame(world.snapshot.positions, action, images)
    if beginning:
        return
    result = ended[0]
    if result.stage < (Stage.PLACED if scene.extent is Extent.WHOLE else Stage.LIFTED):
        raise DatasetError(f"it came as far as {result.stage.name}: {result.reason or 'no time'}")


@functools.cache
def _stage() -> tuple[World, HandoverExpert, Looks]:
    world = World()
    return world, HandoverExpert(), Looks(world.model)


def _version() -> str | None:
    try:
        return version("trossen_pi0_sim")
    except PackageNotFoundError:  # used from its sources
        return None
