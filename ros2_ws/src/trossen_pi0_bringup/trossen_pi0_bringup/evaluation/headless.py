"""Episodes in virtual time, spread over processes."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Sequence
from concurrent.futures import Future, as_completed
from dataclasses import dataclass
from itertools import product
from pathlib import Path

from trossen_pi0_bringup.evaluation.aim import Aim
from trossen_pi0_bringup.evaluation.asking import Judged, SeeingPolicy
from trossen_pi0_bringup.evaluation.results import Episode
from trossen_pi0_bringup.evaluation.settings import Setting
from trossen_pi0_bringup.video import RATE_HZ, MosaicFile
from trossen_pi0_bringup.virtual.controller import ControllerSide
from trossen_pi0_bringup.virtual.episode import OBSERVATION_RATE_HZ, START_NS, Ending, play
from trossen_pi0_bringup.virtual.figures import figures_of
from trossen_pi0_bringup.virtual.policy import Latency, PolicySide
from trossen_pi0_bringup.virtual.processes import ONE_THREAD, environment
from trossen_pi0_core.contract import CAMERAS, Observation
from trossen_pi0_core.joints import JointMap
from trossen_pi0_data.workers import process_pool
from trossen_pi0_sim.looks import Looks
from trossen_pi0_sim.rollout import begin
from trossen_pi0_sim.tasks import episode_rng
from trossen_pi0_sim.world import Snapshot, World

VIDEOS = ("failures", "all", "none")
"""Of which episodes videos are kept."""

_LOOK_STREAM = 2
_VIDEO_STEP = round(OBSERVATION_RATE_HZ / RATE_HZ)
_MORE_S = 5.0  # so much longer than the policy's run an episode may last


@dataclass(frozen=True)
class Kit:
    """The kit that the policy is tried in.

    Attributes:
        cameras: that the policy sees.
        size: width and height of the pictures [pixels].
        looks: light, colours, cameras and clutter are drawn anew for each episode.
        latency_s: of each inference, without what a setting adds [s].
        jitter_s: each takes up to so much longer [s].
        max_duration_s: time limit of an episode [s].
        videos: which are kept, one of ``VIDEOS``.
    """

    cameras: tuple[str, ...] = CAMERAS
    size: tuple[int, int] = (320, 240)
    looks: bool = False
    latency_s: float = 0.05
    jitter_s: float = 0.01
    max_duration_s: float = 60.0
    videos: str = "failures"


class Stage:
    """One world and one policy, for one episode after the other. Not thread-safe."""

    def __init__(self, judged: Judged, kit: Kit, folder: Path) -> None:
        """Makes the policy ready.

        Args:
            judged: the policy.
            kit: that it is tried in.
            folder: of the videos.

        Raises:
            TrossenPi0Error: the policy cannot be used.
        """
        self._kit, self._folder = kit, folder
        self._world = World()
        self._looks = Looks(self._world.model)
        self._policy = SeeingPolicy(judged, self._world, kit.cameras, kit.size)
        self._aim = Aim(self._world)

    def run(self, setting: Setting, seed: int) -> Episode:
        """Runs one episode.

        Raises:
            PolicyLostError: the policy answers no more.
        """
        kit, world = self._kit, self._world
        begin(world, seed, setting.variant)
        if kit.looks:
            self._looks.draw(episode_rng(seed, _LOOK_STREAM))
        else:
            self._looks.restore()
        self._policy.begin(setting.prompt, seed)
        controller = ControllerSide(world, setting.controller(), START_NS)
        parameters = setting.policy(kit.max_duration_s)
        policy = PolicySide(
            self._policy,
            parameters,
            seed=seed,
            latency=Latency(kit.latency_s + setting.delay_ms / 1e3, kit.jitter_s),
            send=controller.submit,
            now_ns=START_NS,
        )
        seen: list[Snapshot] = []

        def look(now_ns: int) -> tuple[Observation, Snapshot]:
            snapshot = world.snapshot
            seen.append(snapshot)
            names = JointMap().urdf_names
            return Observation(now_ns, names, snapshot.positions.copy(), {}), snapshot

        ending = play(world, controller, policy, look, kit.max_duration_s + _MORE_S)
        figures = figures_of(seed, ending, controller, policy.run.chunks)
        video = self._film(setting, seed, ending, seen)
        first = self._policy.first
        aim_m = self._aim.miss(*first, parameters.control_rate) if first else math.nan
        return Episode(setting, figures, video, aim_m)

    def _film(self, setting: Setting, seed: int, ending: Ending, seen: Sequence[Snapshot]) -> str:
        """The video of an episode, rendered when it is over; empty if none is wanted."""
        wanted = self._kit.videos
        if wanted == "none" or (wanted == "failures" and not ending.reason):
            return ""
        words = (
            setting.variant,
            setting.execution,
            f"every{setting.rate_of_inference}",
            f"ensemble_{setting.ensemble_text}",
            f"delay{setting.delay_ms}",
            f"seed{seed}.mp4",
        )
        name = "_".join(words)
        film = MosaicFile(self._folder / name, CAMERAS)
        try:
            shown = [*seen[::_VIDEO_STEP], self._world.snapshot]
            for i, snapshot in enumerate(shown):
                elapsed_s = i / RATE_HZ
                images = {c: self._world.render(c, qpos=snapshot.qpos) for c in CAMERAS}
                caption = f"seed {seed}  {elapsed_s:.1f} s  {ending.reason or 'success'}"
                film.add(i, images, caption)
        finally:
            film.close()
        return name

    def close(self) -> None:
        """Releases policy and world."""
        self._policy.close()
        self._world.close()


_stages: list[Stage] = []
"""The one of this process."""


def run_all(
    judged: Judged,
    kit: Kit,
    settings: Sequence[Setting],
    seeds: Sequence[int],
    folder: Path,
    *,
    workers: int,
    done: Callable[[Episode], None] = lambda _: None,
) -> tuple[Episode, ...]:
    """Runs an episode of each setting with each seed.

    Figures do not depend on the number of processes where the policy's do not, as with one thread
    on a CPU.

    Args:
        judged: the policy.
        kit: that it is tried in.
        settings: compared.
        seeds: of the episodes; each setting gets the same ones.
        folder: of the videos; exists.
        workers: processes; with one, everything happens in this process.
        done: called with each episode that is over.

    Returns:
        The episodes by settings and seeds.

    Raises:
        TrossenPi0Error: the policy cannot be used, or was lost.
    """
    jobs = list(product(settings, seeds))
    found: dict[tuple[Setting, int], Episode] = {}

    def take(episode: Episode) -> None:
        found[episode.setting, episode.figures.seed] = episode
        done(episode)

    if workers == 1:
        stage = Stage(judged, kit, folder)
        try:
            for setting, seed in jobs:
                take(stage.run(setting, seed))
        finally:
            stage.close()
    else:
        # All of them use the same GPU, if there is one.
        preallocate = os.environ.get("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
        shared = {**ONE_THREAD, "XLA_PYTHON_CLIENT_PREALLOCATE": preallocate}
        with (
            environment(shared),
            process_pool(workers, len(jobs), "evaluation") as pool,
        ):
            futures: list[Future[Episode]] = [
                pool.submit(_run, judged, kit, folder, *job) for job in jobs
            ]
            for future in as_completed(futures):
                take(future.result())
    return tuple(found[job] for job in jobs)


def _run(judged: Judged, kit: Kit, folder: Path, setting: Setting, seed: int) -> Episode:
    if not _stages:
        _stages.append(Stage(judged, kit, folder))
    return _stages[0].run(setting, seed)
