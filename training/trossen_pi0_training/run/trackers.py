"""Where figures of a training go: TensorBoard always, Weights & Biases if asked, and a file."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from tensorboardX import SummaryWriter
from typing_extensions import Self

from trossen_pi0_training.config.fields import TrainConfig
from trossen_pi0_training.errors import TrainingError

LOSSES = "losses.jsonl"
_WANDB_ID = "wandb_id.txt"


class Trackers:
    """Writes figures. One thread."""

    def __init__(self, config: TrainConfig, first_step: int) -> None:
        """Args:
            config: of the training; its run folder exists.
            first_step: of this start; losses written from it on by a start before are dropped.

        Raises:
            TrainingError: Weights & Biases is asked for and not installed.
        """
        folder = config.run_folder
        self._wandb = _begin_wandb(config) if config.wandb else None
        self._board = SummaryWriter(str(folder / "tensorboard"), purge_step=first_step)
        self._losses = (folder / LOSSES).open("a+", encoding="utf-8")
        _drop_from(folder / LOSSES, first_step)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._losses.close()
        self._board.close()
        if self._wandb is not None:
            self._wandb.finish()

    def loss(self, step: int, loss: float) -> None:
        """Keeps the loss of a step, exactly."""
        self._losses.write(json.dumps({"step": step, "loss": loss}) + "\n")

    def figures(self, step: int, figures: Mapping[str, float]) -> None:
        """Writes figures by name, and what was kept of losses."""
        for name, value in figures.items():
            self._board.add_scalar(name, value, step)
        self._board.flush()
        self._losses.flush()
        if self._wandb is not None:
            self._wandb.log(dict(figures), step=step)

    def picture(self, step: int, name: str, file: Path) -> None:
        """Shows a PNG."""
        with Image.open(file) as image:
            pixels = np.asarray(image.convert("RGB"))
        self._board.add_image(name, pixels, step, dataformats="HWC")


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


def _begin_wandb(config: TrainConfig) -> Any:
    try:
        import wandb  # pyright: ignore[reportMissingImports]
    except ImportError as error:
        raise TrainingError(
            "--wandb needs the package wandb: pip install 'trossen_pi0_training[wandb]'"
        ) from error
    file = config.run_folder / _WANDB_ID
    known = file.read_text(encoding="utf-8").strip() if config.resume and file.exists() else None
    run = wandb.init(
        project=config.project_name,
        name=config.exp_name,
        id=known,
        resume="must" if known else None,
        config=json.loads(json.dumps(asdict(config), default=str)),
    )
    file.write_text(str(run.id), encoding="utf-8")
    return run
