"""Makes a LeRobot data set of the scripted expert in simulation, without ROS and without clock::

    python -m trossen_pi0_training.generate --repo-id local/sim_handover --episodes 200

Several processes step the simulated kit as fast as they can. The frames are those that a recording
of the running stack gives: measured joints, the expert's command in force and four pictures,
30 a second. Unless told otherwise each episode looks different, the arms are pushed off the
plan, whose commands then show how to come back to it, and some episodes begin where a grasp has
gone wrong. Episodes that fail are left out, and others made in their place.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Executor, Future
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from trossen_pi0_core.contract import CAMERAS
from trossen_pi0_core.errors import DatasetError, TrossenPi0Error
from trossen_pi0_core.parameters.sim import PROMPTS, VARIANTS
from trossen_pi0_data.workers import process_pool
from trossen_pi0_sim.rollout import ROW_RATE_HZ
from trossen_pi0_training import layout
from trossen_pi0_training.convert_options import NATIVE, Options, cores, default_root
from trossen_pi0_training.convert_plan import Skipped
from trossen_pi0_training.convert_work import working_folder
from trossen_pi0_training.generate_worker import Extent, Scene, make_episode
from trossen_pi0_training.publish import DataSet, publish
from trossen_pi0_training.shards import Shard
from trossen_pi0_training.video import CODECS

_MOST_ATTEMPTS, _MORE_ATTEMPTS = 3, 10
"""So many times the episodes that are wanted are tried, and so many more."""


@dataclass(frozen=True)
class Wish:
    """What to make.

    Attributes:
        options: of the data set.
        episodes: successful ones.
        approaches: further ones, that end when the object is lifted.
        beginnings: further ones, that end after two seconds.
        variants: scenarios that the seeds go through in turn.
        seed: of the first episode; the others follow.
        size: width and height of the pictures [pixels].
        looks: share of the episodes that look different; the others look as the kit is built.
        sway_rad: standard deviation of the offsets from the plan [rad].
        recovery: share of the episodes that begin where a grasp has gone wrong.
        camera_rate: new pictures a second.
    """

    options: Options
    episodes: int
    variants: tuple[str, ...]
    seed: int
    size: tuple[int, int] = (320, 240)
    looks: float = 1.0
    sway_rad: float = 0.012
    recovery: float = 0.25
    approaches: int = 0
    beginnings: int = 0
    camera_rate: int = round(ROW_RATE_HZ)

    def __post_init__(self) -> None:
        unknown = [each for each in self.variants if each not in VARIANTS]
        if unknown or not self.variants:
            raise DatasetError(f"variants must be of {list(VARIANTS)}, got {list(self.variants)}")
        for label, value, low, high in (
            ("episodes", self.episodes, 1, 10**6),
            ("approaches", self.approaches, 0, 10**6),
            ("beginnings", self.beginnings, 0, 10**6),
            ("seed", self.seed, 0, 2**31),
            ("width", self.size[0], 16, 1920),
            ("height", self.size[1], 16, 1080),
            ("sway", self.sway_rad, 0.0, 0.1),
            ("recovery", self.recovery, 0.0, 1.0),
            ("looks", self.looks, 0.0, 1.0),
            ("camera rate", self.camera_rate, 1, self.options.fps),
        ):
            if not low <= value <= high:
                raise DatasetError(f"{label} must lie in {low}..{high}, got {value}")
        if self.options.fps % self.camera_rate:
            raise DatasetError(
                f"camera rate must divide {self.options.fps} frames/s, got {self.camera_rate}"
            )

    @property
    def total(self) -> int:
        """Episodes of all lengths."""
        return self.episodes + self.approaches + self.beginnings

    def scene(self, seed: int, shards: Path, extent: Extent = Extent.WHOLE) -> Scene:
        """The episode of a seed."""
        variant = self.variants[(seed - self.seed) % len(self.variants)]
        return Scene(
            seed,
            variant,
            PROMPTS[variant],
            shards / f"{variant}-{seed}",
            self.size,
            self.options.cameras,
            self.looks,
            self.sway_rad,
            self.recovery,
            extent,
            self.options.codec,
            self.options.fps,
            self.options.fps // self.camera_rate,
        )


@dataclass(frozen=True)
class Made:
    """What came of it.

    Attributes:
        data_set: written.
        failed: episodes that failed, and why.
        seconds: wall-clock time [s].
    """

    data_set: DataSet
    failed: tuple[Skipped, ...]
    seconds: float


def generate(wish: Wish, progress: Callable[[int], None] = lambda _: None) -> Made:
    """Makes a data set.

    The same wish gives the same episodes, whatever the number of processes.

    Args:
        wish: what to make.
        progress: called with the successful episodes so far.

    Raises:
        DatasetError: it is there already, or too many episodes fail. No data set is under its name
            then that was not there before.
    """
    started, options = time.monotonic(), wish.options
    with working_folder(options) as work:
        try:
            scenes, failed = _make(wish, work.shards, progress)
            shards = [Shard.read(scene.folder) for scene in scenes]
            (made,) = publish(shards, failed, options, work.path)
        finally:
            work.remove()  # nothing goes on from it
    return Made(made, tuple(failed), time.monotonic() - started)


def _make(
    wish: Wish, shards: Path, progress: Callable[[int], None]
) -> tuple[list[Scene], list[Skipped]]:
    """The first successful episodes by their seeds, and those before them that failed.

    Approaches have the seeds behind those that whole episodes can have, beginnings those behind.
    """
    workers = wish.options.workers
    most = _attempts(wish.total)
    good: list[Scene] = []
    failed: list[Skipped] = []
    wanted, first = 0, wish.seed
    with process_pool(workers, most, "simulation") as pool:
        for more, extent in (
            (wish.episodes, Extent.WHOLE),
            (wish.approaches, Extent.APPROACH),
            (wish.beginnings, Extent.BEGINNING),
        ):
            seeds = range(first, first + _attempts(more))
            scenes = (wish.scene(seed, shards, extent) for seed in seeds)
            made = _in_order(pool, scenes, 2 * workers)
            wanted += more
            while len(good) < wanted:
                scene, problem = next(made, (None, ""))
                if scene is None:
                    raise DatasetError(
                        f"{len(seeds)} episodes gave {len(good) - wanted + more} successes, "
                        f"{more} are wanted; the last one that failed: {failed[-1].reason}"
                    )
                if problem:
                    failed.append(Skipped(scene.name, Path(), problem, bad=False))
                else:
                    good.append(scene)
                    progress(len(good))
            first = seeds.stop
    return good, failed


def _attempts(wanted: int) -> int:
    return _MOST_ATTEMPTS * wanted + _MORE_ATTEMPTS


def _in_order(pool: Executor, scenes: Iterable[Scene], ahead: int) -> Iterator[tuple[Scene, str]]:
    """Each scene and what came of it; no more than ``ahead`` are begun before one is asked for."""
    waiting: deque[tuple[Scene, Future[str]]] = deque()
    for scene in scenes:
        waiting.append((scene, pool.submit(make_episode, scene)))
        if len(waiting) == ahead:
            oldest, future = waiting.popleft()
            yield oldest, future.result()
    for scene, future in waiting:
        yield scene, future.result()


def parse(arguments: Sequence[str] | None = None) -> Wish:
    """Reads the command line; raises DatasetError for values that are not allowed."""
    parser = argparse.ArgumentParser(
        prog="python -m trossen_pi0_training.generate",
        description="Makes a LeRobot data set of the scripted expert in simulation.",
    )
    add = parser.add_argument
    add("--repo-id", required=True, metavar="NAME", help="name of the data set, OWNER/NAME")
    add("--root", type=Path, metavar="DIR", help="its folder; default: where lerobot looks for it")
    add("--episodes", type=int, default=50, help="successful ones (default %(default)s)")
    add(
        "--variants",
        default="red_cube",
        metavar="NAMES",
        help=f"scenarios that come in turn, of {','.join(VARIANTS)}, or all (default %(default)s)",
    )
    add("--seed", type=int, default=0, help="of the first episode; the others follow")
    add("--width", type=int, default=320, help="of the pictures (default %(default)s)")
    add("--height", type=int, default=240, help="of the pictures (default %(default)s)")
    add(
        "--looks",
        type=float,
        default=1.0,
        metavar="SHARE",
        help="of the episodes, that look different each; the others as the kit is built "
        "(default %(default)s)",
    )
    add(
        "--approaches",
        type=int,
        default=0,
        help="further episodes, that end when the object is lifted (default %(default)s)",
    )
    add(
        "--beginnings",
        type=int,
        default=0,
        help="further episodes, that end after two seconds; new pictures only in the first 0.4 s: "
        "later frames have no whole chunk (default %(default)s)",
    )
    add(
        "--camera-rate",
        type=int,
        default=round(ROW_RATE_HZ),
        metavar="HZ",
        help="new pictures a second; frames between show the last ones (default %(default)s)",
    )
    add(
        "--sway",
        type=float,
        default=0.012,
        metavar="RAD",
        help="how far the arms are pushed off the plan, standard deviation (default %(default)s)",
    )
    add(
        "--recovery",
        type=float,
        default=0.25,
        metavar="SHARE",
        help="of the episodes, that begin where a grasp has gone wrong (default %(default)s)",
    )
    add("--cameras", default=",".join(CAMERAS), metavar="NAMES", help="default: all four")
    add(
        "--format",
        dest="version",
        choices=layout.FORMATS,
        default=layout.V21,
        help="of the data set (default %(default)s)",
    )
    add("--val-fraction", type=float, default=0.0, help="share of episodes for validation")
    add("--codec", choices=tuple(CODECS), default="libsvtav1", help="default %(default)s")
    add("--workers", type=int, default=cores(), help="processes (default: one a core)")
    add("--overwrite", action="store_true", help="replace what is there")
    given = parser.parse_args(arguments)
    options = Options(
        episodes=(),
        repo_id=given.repo_id,
        root=(given.root or default_root(given.repo_id)).absolute(),
        version=given.version,
        writer=NATIVE,
        fps=round(ROW_RATE_HZ),
        cameras=tuple(part.strip() for part in given.cameras.split(",") if part.strip()),
        val_fraction=given.val_fraction,
        one_dataset=True,
        seed=given.seed,
        codec=given.codec,
        workers=given.workers,
        overwrite=given.overwrite,
    )
    unknown = [camera for camera in options.cameras if camera not in CAMERAS]
    if unknown:
        raise DatasetError(f"cameras must be of {list(CAMERAS)}, got {unknown}")
    names = VARIANTS if given.variants == "all" else tuple(given.variants.split(","))
    size = given.width, given.height
    return Wish(
        options, given.episodes, names, given.seed, size,
        looks=given.looks, sway_rad=given.sway, recovery=given.recovery,
        approaches=given.approaches, beginnings=given.beginnings, camera_rate=given.camera_rate,
    )  # fmt: skip


def main(arguments: Sequence[str] | None = None) -> int:
    """Makes what the command line says; returns the exit status."""
    columns = (
        TextColumn("episodes"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(),
    )  # fmt: skip
    try:
        wish = parse(arguments)
        with Progress(*columns, console=Console(stderr=True)) as bar:
            task = bar.add_task("episodes", total=wish.total)
            made = generate(wish, lambda done: bar.update(task, completed=done))
    except (TrossenPi0Error, OSError) as error:
        sys.stderr.write(f"generate: {error}\n")
        return 1
    except KeyboardInterrupt:
        sys.stderr.write("generate: interrupted\n")
        return 130
    sys.stdout.write(_summary(made))
    return 0


def _summary(made: Made) -> str:
    shards = made.data_set.shards
    seconds = sum(shard.frames / shard.fps for shard in shards)
    lines = [f"{made.data_set.repo_id}: {len(shards)} episodes in {made.data_set.root}"]
    lines += [f"left out {each.name}: {each.reason}" for each in made.failed]
    lines.append(
        f"{len(shards)} of {len(shards) + len(made.failed)} episodes succeeded, {seconds:.1f} s of "
        f"them in {made.seconds:.1f} s: {60 * len(shards) / made.seconds:.1f} episodes/min, "
        f"{seconds / made.seconds:.2f} x real time"
    )
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.exit(main())
