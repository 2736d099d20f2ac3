"""Where figures of a training go: TensorBoard always, Weights & Biases if asked, and a file."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from PIL import Image
from tensorboardX import SummaryWriter
from typing_extensions import Self, override

from trossen_pi0_training.config.fields import TrainConfig
from trossen_pi0_training.errors import TrainingError

LOSSES = "losses.jsonl"
_WANDB_ID = "wandb_id.txt"


class Figures(Protocol):
    """Takes figures of a training. One thread."""

    def loss(self, step: int, loss: float) -> None:
        """Keeps the loss of a step, exactly."""
        ...

    def figures(self, step: int, figures: Mapping[str, float]) -> None:
        """Takes figures by name."""
        ...

    def picture(self, step: int, name: str, file: Path) -> None:
        """Takes a PNG."""
        ...


class Unwritten(Figures):
    """The figures of a process whose figures another one writes too."""

    @override
    def loss(self, step: int, loss: float) -> None:
        del step, loss

    @override
    def figures(self, step: int, figures: Mapping[str, float]) -> None:
        del step, figures

    @override
    def picture(self, step: int, name: str, file: Path) -> None:
        del step, name, file


class Trackers(Figures):
    """Writes figures."""

    def __init__(self, config: TrainConfig, first_step: int, wandb: Any = None) -> None:
        """Args:
        config: of the training; its run folder exists.
        first_step: of this start; losses written from it on by a start before are dropped.
        wandb: the run of ``wandb_run``; None: none.
        """
        folder = config.run_folder
        self._wandb = wandb
        if wandb is not None:
            (folder / _WANDB_ID).write_text(str(wandb.id), encoding="utf-8")
        self._board = SummaryWriter(str(folder / "tensorboard"), purge_step=first_step)
        self._losses = (folder / LOSSES).open("a+", encoding="utf-8")
        _drop_from(folder / LOSSES, first_step)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._losses.close()
        self._board.close()

    @override
    def loss(self, step: int, loss: float) -> None:
        self._losses.write(json.dumps({"step": step, "loss": loss}) + "\n")

    @override
    def figures(self, step: int, figures: Mapping[str, float]) -> None:
        for name, value in figures.items():
            self._board.add_scalar(name, value, step)
        self._board.flush()
        self._losses.flush()
        if self._wandb is not None:
            self._wandb.log(dict(figures), step=step)

    @override
    def picture(self, step: int, name: str, file: Path) -> None:
        with Image.open(file) as image:
            pixels = np.asarray(image.convert("RGB"))
        self._board.add_image(name, pixels, step, dataformats="HWC")
        if self._wandb is not None:
            self._wandb.log({name: import_wandb().Image(str(file))}, step=step)


def read_losses(folder: Path) -> dict[int, float]:
    """Losses of a run by step."""
    lines = (folder / LOSSES).read_text(encoding="utf-8").splitlines()
    entries = [json.loads(line) for line in lines]
    return {entry["step"]: entry["loss"] for entry in entries}


def _drop_from(file: Path, step: int) -> None:
    """Removes lines of later steps, and one that a kill cut short."""
    kept = []
    for line in file.read_text(encoding="utf-8").splitlines():
        try:
            known = json.loads(line)["step"] < step
        except ValueError:
            known = False
        if known:
            kept.append(line + "\n")
    file.write_text("".join(kept), encoding="utf-8")


def import_wandb() -> Any:
    """The package of Weights & Biases.

    Raises:
        TrainingError: it is not installed, or damaged.
    """
    try:
        import wandb
    except ImportError as error:
        raise TrainingError(
            f"--wandb needs the package wandb: pip install 'trossen_pi0_training[wandb]' ({error})"
        ) from error
    return wandb


@contextmanager
def wandb_run(config: TrainConfig) -> Iterator[Any]:
    """A run of Weights & Biases; it is said to have failed where an error leaves it.

    Raises:
        TrainingError: it cannot be begun, as without a login.
    """
    wandb = import_wandb()
    file = config.run_folder / _WANDB_ID
    known = file.read_text(encoding="utf-8").strip() if config.resume and file.exists() else None
    try:
        run = wandb.init(
            project=config.project_name,
            name=config.exp_name,
            id=known,
            resume="must" if known else None,
            config=json.loads(json.dumps(asdict(config), default=str)),
        )
    except wandb.Error as error:
        raise TrainingError(f"--wandb: Weights & Biases takes no run: {error}") from error
    try:
        yield run
    except BaseException:
        run.finish(exit_code=1)
        raise
    run.finish()
