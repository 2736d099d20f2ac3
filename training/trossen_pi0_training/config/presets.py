"""The configs that come with the suite; their fields are openpi's where openpi has them."""

from __future__ import annotations

from pathlib import Path

from trossen_pi0_training.config.fields import (
    DataConfig,
    LoaderConfig,
    OptimizerConfig,
    TrainConfig,
    ValidationConfig,
)

_PI0_BASE = "gs://openpi-assets/checkpoints/pi0_base"
_PI05_BASE = "gs://openpi-assets/checkpoints/pi05_base"
_HANDOVER = DataConfig(
    repo_id="TrossenRoboticsCommunity/bimanual-widowxai-handover-cube",
    default_prompt="grab and handover the red cube",
)
_ORGANIZE = DataConfig(repo_id="local/organize_tools", default_prompt="organize the tools")
_MULTITASK = DataConfig(repo_id="local/multitask", prompt_from_task=True)


def _lora(name: str, model: str, data: DataConfig, steps: int) -> TrainConfig:
    return TrainConfig(
        name=name,
        model=model,
        data=data,
        weights=_PI05_BASE if model.startswith("pi05") else _PI0_BASE,
        ema_decay=None,
        batch_size=8,
        num_train_steps=steps,
    )


PRESETS = (
    _lora("pi0_trossen_transfer_block", "pi0_lora", _HANDOVER, 20_000),
    _lora("pi05_trossen_transfer_block", "pi05_lora", _HANDOVER, 80_000),
    _lora("pi0_trossen_organize_tools", "pi0_lora", _ORGANIZE, 150_000),
    _lora("pi05_trossen_organize_tools", "pi05_lora", _ORGANIZE, 100_000),
    _lora("pi05_trossen_multitask_training", "pi05_lora", _MULTITASK, 100_000),
    TrainConfig(name="pi0_trossen_full", model="pi0", data=_HANDOVER, weights=_PI0_BASE),
    TrainConfig(name="pi05_trossen_full", model="pi05", data=_HANDOVER, weights=_PI05_BASE),
    TrainConfig(
        name="sim_handover",
        model="sim",
        data=DataConfig(repo_id="local/sim_handover", prompt_from_task=True, frame_step=2),
        optimizer=OptimizerConfig(peak_lr=6e-4, decay_steps=16_000, decay_lr=1e-5),
        ema_decay=0.999,
        batch_size=256,
        augment="colours",
        max_prefix=20,
        prefix_share=0.5,
        num_train_steps=16_000,
    ),
    TrainConfig(
        name="debug",
        model="tiny",
        optimizer=OptimizerConfig(warmup_steps=5, peak_lr=1e-3, decay_steps=100, decay_lr=1e-4),
        batch_size=4,
        dtype="float32",
        num_train_steps=20,
        log_interval=5,
        save_interval=10,
        keep_period=None,
        loader=LoaderConfig(workers=0),
        validation=ValidationConfig(interval=10, batches=2, plots=1, flow_steps=4),
        checkpoint_base=Path("checkpoints"),
    ),
)
"""Fine-tuning with adapters (LoRA) on both experts, of all parameters, from scratch, and a try.

The data sets of ``organize_tools`` and ``multitask`` are the lab's own: name them with
``--data.repo-id``.
"""
