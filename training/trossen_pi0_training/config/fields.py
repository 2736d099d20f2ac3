"""The dataclasses of a training's config. Importable without JAX."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from trossen_pi0_core.errors import ParameterError
from trossen_pi0_core.joints import JointMap

KIT_CAMERAS = ("cam_high", "cam_left_wrist", "cam_right_wrist")
"""Cameras in the order in which the released models take them."""

EXTRA_CAMERAS = ("cam_low",)
"""Cameras that come behind those, for models trained with them."""


def _at_least(owner: object, least: float, *names: str) -> None:
    for name in names:
        if (value := getattr(owner, name)) is not None and not value >= least:
            raise ParameterError(f"{name} must be {least:g} or more, got {value}")


def _folder_below(owner: object, *names: str, parts: int | None = None) -> None:
    """Values that name folders must not lead out of the folder that they are joined to."""
    for name in names:
        value = getattr(owner, name)
        if not value:
            continue
        words = value.split("/")
        if any(word in ("", ".", "..") for word in words) or (parts and len(words) > parts):
            allowed = "one folder's name" if parts == 1 else "names joined by /"
            raise ParameterError(f"{name} must be {allowed} other than . and .., got {value!r}")


@dataclass(frozen=True)
class DataConfig:
    """Where examples come from and how they are transformed.

    Attributes:
        repo_id: name of the LeRobot data set, as lab/handover; empty: synthetic examples.
        root: its folder; None: repo_id below $HF_LEROBOT_HOME (~/.cache/huggingface/lerobot).
        asset_id: under which norm stats are kept; None: repo_id.
        cameras: of the data set, by the suite's names, in the order in which the model takes them.
        joints: names of the values of state and action, in the order of the wire.
        default_prompt: instruction for all frames; not with prompt_from_task.
        prompt_from_task: each frame's instruction is its task in the data set.
        frame_step: of an episode's frames each so many-th is an example; its chunk has all rows.
        delta_actions: all joints but the grippers are predicted relative to the state.
        outcomes: episodes of these outcomes are used, where the data set tells them; of those that
            are cut before their task ends, frames whose chunk is whole.
        exclude_episodes: numbers of episodes that are left out whatever their outcome.
        val_fraction: share of the episodes held out where the data set has no split named val.
    """

    repo_id: str = ""
    root: Path | None = None
    asset_id: str | None = None
    cameras: tuple[str, ...] = KIT_CAMERAS
    joints: tuple[str, ...] = JointMap().dataset_names
    default_prompt: str | None = None
    prompt_from_task: bool = False
    frame_step: int = 1
    delta_actions: bool = False
    outcomes: tuple[str, ...] = ("success", "unknown", "cut")
    exclude_episodes: tuple[int, ...] = ()
    val_fraction: float = 0.1

    def __post_init__(self) -> None:
        known = (*KIT_CAMERAS, *EXTRA_CAMERAS)
        if not self.cameras or self.cameras != known[: len(self.cameras)]:
            raise ParameterError(
                f"cameras must be the first of {list(known)}, as policies are served with them, "
                f"got {list(self.cameras)}"
            )
        _folder_below(self, "repo_id", "asset_id")
        _at_least(self, 1, "frame_step")
        if not 0 <= self.val_fraction < 1:
            raise ParameterError(f"val_fraction must lie in [0, 1), got {self.val_fraction}")
        if self.prompt_from_task and self.default_prompt is not None:
            raise ParameterError("prompt_from_task and default_prompt exclude each other, got both")

    @property
    def asset(self) -> str:
        """Id under which norm stats are kept."""
        return self.asset_id or self.repo_id or "synthetic"


@dataclass(frozen=True)
class OptimizerConfig:
    """AdamW with warm-up and cosine decay (openpi's ``training/optimizer.py``).

    Attributes:
        warmup_steps: from peak / (warmup_steps + 1) up to the peak.
        peak_lr: highest learning rate.
        decay_steps: step at which decay_lr is reached; the warm-up counts.
        decay_lr: lowest learning rate, kept afterwards.
        b1: decay of the first moment.
        b2: decay of the second moment.
        eps: keeps the quotient finite.
        weight_decay: of all trained parameters.
        clip_norm: largest global norm of a gradient.
    """

    warmup_steps: int = 1000
    peak_lr: float = 2.5e-5
    decay_steps: int = 30_000
    decay_lr: float = 2.5e-6
    b1: float = 0.9
    b2: float = 0.95
    eps: float = 1e-8
    weight_decay: float = 1e-10
    clip_norm: float = 1.0

    def __post_init__(self) -> None:
        _at_least(self, 0, "warmup_steps", "peak_lr", "decay_lr", "weight_decay")
        _at_least(self, 1e-12, "clip_norm", "eps")
        if self.decay_steps <= self.warmup_steps:
            raise ParameterError(
                f"decay_steps must be more than warmup_steps = {self.warmup_steps}, "
                f"got {self.decay_steps}"
            )


@dataclass(frozen=True)
class LoaderConfig:
    """How examples are made ready.

    Attributes:
        workers: processes that decode, 0: a thread of the training process; with a cache, threads
            that make batches of it. None: 2 processes; with a cache a thread a core, at most 4.
            A cache is made by as many processes; None, 0: one a core.
        batches_ahead: batches kept ready.
        worker_timeout_s: a worker that answers nothing for so long is taken for hung [s].
        cache: folder where the pictures are kept, decoded and of the model's size; None: they are
            read from the data set's videos each time.
    """

    workers: int | None = None
    batches_ahead: int = 4
    worker_timeout_s: float = 120.0
    cache: Path | None = None

    def __post_init__(self) -> None:
        _at_least(self, 0, "workers")
        _at_least(self, 1, "batches_ahead", "worker_timeout_s")


@dataclass(frozen=True)
class ValidationConfig:
    """Looks at held-out episodes.

    Attributes:
        interval: steps between two looks; 0: none.
        batches: so many batches, the same ones each time.
        plots: so many true chunks are plotted against predicted ones.
        flow_steps: Euler steps of the predictions.
    """

    interval: int = 1000
    batches: int = 8
    plots: int = 4
    flow_steps: int = 10

    def __post_init__(self) -> None:
        _at_least(self, 0, "interval", "plots")
        _at_least(self, 1, "batches", "flow_steps")


@dataclass(frozen=True)
class TrainConfig:
    """A training.

    Attributes:
        name: of the config.
        model: name for ``trossen_pi0_policy.pi0.config.get_config``; the cameras are the data's.
        exp_name: of this run, a folder's name; its checkpoints lie in
            checkpoint_base/name/exp_name.
        data: examples.
        weights: checkpoint to start from, a folder or gs://; None: from scratch.
        freeze: what stays as it is: ``auto``: as openpi does, the weights of experts with LoRA
            but their adapters; ``vision``: those and the picture tower; ``none``: nothing.
        optimizer: how gradients are followed.
        ema_decay: of the averaged parameters that are saved; None: none.
        batch_size: of all devices together.
        micro_batch: examples per device whose gradients are taken at once; None: as the memory
            of the device allows; 0: all.
        remat: activations kept for the backward pass: ``auto``, ``none``, ``some`` or ``all``.
        kernels: of this project's own in the step: ``auto``: those that run here, on one GPU;
            ``none``.
        fsdp_devices: so many devices share the parameters.
        dtype: of the transformers' activations.
        augment: how pictures are changed: ``openpi``: as there, with a crop and a turn that move
            what the cameras beside the wrists' see by some centimetres; ``colours``: only those, as
            there; ``none``.
        max_prefix: up to so many first rows of a chunk are given clean (arXiv 2512.05964).
        prefix_share: of the examples, that may be given some; with the others the model learns to
            answer without.
        time_shift: of the flow times, above 1 towards noise (see ``fit.draws.draw``). The rows of a
            chunk repeat each other, so its noisy values tell where it goes until there is little
            else than noise; only there a model that starts from scratch learns to look.
        loader: how examples are made ready.
        validation: looks at held-out episodes.
        seed: of all randomness.
        num_train_steps: optimizer steps.
        log_interval: steps between two lines.
        save_interval: steps between two checkpoints.
        keep_period: checkpoints of these multiples are kept for ever, of others the newest.
        assets_base: norm stats lie in assets_base/name/asset.
        checkpoint_base: see exp_name.
        tokenizer_file: PaliGemma's ``paligemma_tokenizer.model``; not for small models.
        overwrite: an existing run is replaced.
        resume: an existing run goes on from its newest checkpoint.
        wandb: also log to Weights & Biases.
        project_name: there.
    """

    name: str
    model: str
    exp_name: str = ""
    data: DataConfig = field(default_factory=DataConfig)
    weights: str | None = None
    freeze: Literal["auto", "vision", "none"] = "auto"
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    ema_decay: float | None = 0.99
    batch_size: int = 32
    micro_batch: int | None = None
    remat: Literal["auto", "none", "some", "all"] = "auto"
    kernels: Literal["auto", "none"] = "auto"
    fsdp_devices: int = 1
    dtype: Literal["bfloat16", "float32"] = "bfloat16"
    augment: Literal["openpi", "colours", "none"] = "openpi"
    max_prefix: int = 0
    prefix_share: float = 1.0
    time_shift: float = 1.0
    loader: LoaderConfig = field(default_factory=LoaderConfig)
    validation: ValidationConfig = field(default_factory=ValidationConfig)
    seed: int = 42
    num_train_steps: int = 30_000
    log_interval: int = 100
    save_interval: int = 1000
    keep_period: int | None = 5000
    assets_base: Path = Path("assets")
    checkpoint_base: Path = Path("checkpoints")
    tokenizer_file: Path | None = None
    overwrite: bool = False
    resume: bool = False
    wandb: bool = False
    project_name: str = "trossen_pi0"

    def __post_init__(self) -> None:
        _folder_below(self, "name", "exp_name", parts=1)
        _at_least(self, 1, "batch_size", "fsdp_devices", "num_train_steps", "log_interval")
        _at_least(self, 1, "save_interval", "keep_period")
        _at_least(self, 0, "micro_batch", "max_prefix", "seed")
        if not 0 <= self.prefix_share <= 1:
            raise ParameterError(f"prefix_share must lie in [0, 1], got {self.prefix_share}")
        if not 0.1 <= self.time_shift <= 100:
            raise ParameterError(f"time_shift must lie in [0.1, 100], got {self.time_shift}")
        if self.ema_decay is not None and not 0 <= self.ema_decay < 1:
            raise ParameterError(f"ema_decay must lie in [0, 1) or be None, got {self.ema_decay}")
        if self.overwrite and self.resume:
            raise ParameterError("overwrite and resume exclude each other, got both")

    @property
    def run_folder(self) -> Path:
        """Folder of the checkpoints, one below for each step, and of the logs."""
        return (self.checkpoint_base / self.name / self.exp_name).resolve()

    @property
    def stats_folder(self) -> Path:
        """Folder of the norm stats that training reads."""
        return (self.assets_base / self.name / self.data.asset).resolve()
