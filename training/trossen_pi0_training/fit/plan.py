"""How the gradients of a batch are taken so that they fit into a device's memory."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, cast, get_args

from trossen_pi0_policy.pi0.config import Pi0Config
from trossen_pi0_policy.pi0.parameters import leaves
from trossen_pi0_training.config.fields import TrainConfig
from trossen_pi0_training.errors import TrainingError
from trossen_pi0_training.fit.freezing import frozen_paths, layers_are_frozen

Kept = Literal["none", "some", "all"]

_SHARE = 0.85
"""Of a device's memory that the estimate may fill; the rest is for what it does not count."""


@dataclass(frozen=True)
class Plan:
    """Examples of a device whose gradients are taken at once, and which activations are kept.

    Attributes:
        micro_batch: divides the examples of a device.
        kept: see ``trossen_pi0_policy.pi0.stack.KEPT_ACTIVATIONS``.
        kept_layers: of so many layers of the transformers everything is kept, whatever ``kept``
            says; counts where these layers are frozen.
    """

    micro_batch: int
    kept: Kept
    kept_layers: int = 0

    def said(self) -> str:
        """What is kept, in a word or two."""
        return f"{self.kept}, {self.kept_layers} layers all" if self.kept_layers else self.kept


def parse_plan(text: str) -> Plan:
    """A plan from ``EXAMPLES:KEPT`` or ``EXAMPLES:KEPT:LAYERS``, such as ``8:some:2``.

    Raises:
        TrainingError: it says something else.
    """
    examples, _, rest = text.partition(":")
    kept, _, layers = rest.partition(":")
    numbers = (examples, layers or "0")
    if not all(number.isdecimal() for number in numbers) or kept not in get_args(Kept):
        raise TrainingError(f"a plan must be as 4:all or 8:some:2, got {text!r}")
    return Plan(int(examples), cast(Kept, kept), int(numbers[1]))


def state_bytes(config: TrainConfig, model: Pi0Config) -> int:
    """Memory of parameters, their gradients and the optimizer's two moments [bytes]."""
    still = frozen_paths(model, config.freeze)
    wide = 2 if config.dtype == "bfloat16" else 4
    copies = 4 + (config.ema_decay is not None)
    return sum(
        math.prod(leaf.shape) * (wide if leaf.path in still else 4 * copies)
        for leaf in leaves(model)
    )


def activation_bytes(config: TrainConfig, model: Pi0Config, kept: Kept) -> int:
    """Memory of what the backward pass of one example needs [bytes].

    Of each layer its input, and what ``kept`` names; besides, one layer of either tower while it
    is worked out again.
    """
    wide = 2 if config.dtype == "bfloat16" else 4
    v, g = model.vision, model.language
    pictures, tokens = len(model.cameras) * model.image_tokens, model.prefix_len
    vision = {
        "none": v.width,
        "some": 2 * v.width + v.mlp_dim,
        "all": 5 * v.width + v.mlp_dim,
    }[kept]
    language = g.width + (_kept_width(model) if kept == "all" else 0)
    logits = tokens * (tokens + model.suffix_len) * g.num_heads * 4
    passing = 4 * tokens * (2 * g.mlp_dim) + 3 * logits // wide
    layers = v.depth * pictures * vision + g.depth * tokens * language
    return wide * (layers + passing)


def _kept_width(model: Pi0Config) -> int:
    """Numbers that are kept of each token in a layer of the language model, if all are."""
    g = model.language
    return g.qkv_dim + g.num_heads * g.head_dim + 2 * g.mlp_dim


def make_plan(
    config: TrainConfig, model: Pi0Config, devices: int, memory_bytes: int | None
) -> Plan:
    """The fastest way that fits: as many examples at once as it can, and of them as much kept.

    Each micro-batch adds to the gradients of all trained parameters, which costs more than working
    activations out again (``docs/performance.md``).

    Args:
        config: ``micro_batch`` and ``remat`` are kept to where they are given.
        model: sizes.
        devices: among which the batch is divided.
        memory_bytes: of each device; None: not known, as on a CPU.

    Raises:
        TrainingError: nothing fits, by the estimate.
    """
    each = config.batch_size // devices
    if config.micro_batch is not None:
        sizes = [config.micro_batch or each]
    else:
        sizes = [n for n in range(each, 0, -1) if each % n == 0]
    levels: list[Kept] = ["all", "some", "none"] if config.remat == "auto" else [config.remat]
    if memory_bytes is None:
        return Plan(sizes[0], "none" if config.remat == "auto" else config.remat)
    free = _SHARE * memory_bytes - state_bytes(config, model) / config.fsdp_devices
    for size in sizes:
        for kept in levels:
            needed = size * activation_bytes(config, model, kept)
            if needed <= free:
                more = 0 if kept == "all" else _kept_layers(config, model, size, free - needed)
                return Plan(size, kept, more)
    needed = sizes[-1] * activation_bytes(config, model, levels[-1])
    raise TrainingError(
        f"not enough memory on a device: state and activations of {sizes[-1]} examples need about "
        f"{(state_bytes(config, model) / config.fsdp_devices + needed) / 1e9:.1f} GB, usable are "
        f"{_SHARE * memory_bytes / 1e9:.1f} GB; a LoRA config, freeze=vision or fsdp_devices help"
    )


def _kept_layers(config: TrainConfig, model: Pi0Config, size: int, spare: float) -> int:
    """Of how many layers everything can be kept besides, in the memory to spare [bytes]."""
    if config.remat != "auto" or not layers_are_frozen(model, config.freeze):
        return 0
    wide = 2 if config.dtype == "bfloat16" else 4
    each = wide * size * model.prefix_len * _kept_width(model)
    return min(int(spare / each), model.language.depth - 1)
