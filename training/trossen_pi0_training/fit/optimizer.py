"""AdamW as openpi sets it up (``openpi/training/optimizer.py``)."""

from __future__ import annotations

import optax

from trossen_pi0_training.config.fields import OptimizerConfig


def learning_rate(config: OptimizerConfig) -> optax.Schedule:
    """Learning rate by step: a linear rise, then half a cosine down to the lowest."""
    return optax.warmup_cosine_decay_schedule(
        init_value=config.peak_lr / (config.warmup_steps + 1),
        peak_value=config.peak_lr,
        warmup_steps=config.warmup_steps,
        decay_steps=config.decay_steps,
        end_value=config.decay_lr,
    )


def make_optimizer(config: OptimizerConfig) -> optax.GradientTransformation:
    """Clips gradients by their global norm, then follows them by AdamW."""
    adamw = optax.adamw(
        learning_rate(config),
        b1=config.b1,
        b2=config.b2,
        eps=config.eps,
        weight_decay=config.weight_decay,
    )
    return optax.chain(optax.clip_by_global_norm(config.clip_norm), adamw)
