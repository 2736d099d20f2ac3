"""How the gradients of a batch are taken so that they fit into a device's memory."""

from __future__ import annotations

import itertools
import math
import re
from dataclasses import dataclass, replace
from typing import Literal, cast, get_args

from trossen_pi0_policy.pi0.config import ExpertConfig, Pi0Config
from trossen_pi0_policy.pi0.parameters import leaves
from trossen_pi0_training.config.fields import TrainConfig
from trossen_pi0_training.errors import TrainingError
from trossen_pi0_training.fit.freezing import frozen_paths, layers_are_frozen

Kept = Literal["none", "some", "all"]

_SHARE = 0.85
"""Of a device's memory that the estimate may fill; the rest is for what it does not count."""

_MICRO_BATCH_COST = 1.2
"""Of small kernels and the sum of the gradients, in examples."""

_TOWER_COST = 0.45
"""What of that is the picture tower's."""

_KEPT = "|".join(get_args(Kept))
_PLAN = re.compile(rf"(\d+):({_KEPT})(?::(\d+)(?::({_KEPT}))?)?")


@dataclass(frozen=True)
class Plan:
    """Examples of a device whose gradients are taken at once, and which activations are kept.

    Attributes:
        micro_batch: divides the examples of a device.
        kept: see ``trossen_pi0_policy.pi0.stack.KEPT_ACTIVATIONS``.
        kept_layers: of so many layers of the transformers everything is kept, whatever ``kept``
            says; counts where these layers are frozen.
        tower: the picture tower runs once over all examples of a device, the micro-batches of the
            transformers between its two passes, and this is kept of it; None: it runs with each of
            them, and ``kept`` is.
    """

    micro_batch: int
    kept: Kept
    kept_layers: int = 0
    tower: Kept | None = None

    def seen_at_once(self, examples: int) -> int:
        """Of so many examples of a device, whose pictures the tower takes at once."""
        return examples if self.tower else self.micro_batch

    def said(self) -> str:
        """What is kept, in a word or two."""
        layers = f", {self.kept_layers} layers all" if self.kept_layers else ""
        return self.kept + layers + (f", tower at once with {self.tower}" if self.tower else "")


def parse_plan(text: str) -> Plan:
    """A plan from ``EXAMPLES:KEPT[:LAYERS[:TOWER]]``, such as ``8:some:2`` or ``8:some:17:none``.

    Raises:
        TrainingError: it says something else.
    """
    found = _PLAN.fullmatch(text)
    if found is None:
        raise TrainingError(f"a plan must be as 4:all, 8:some:2 or 8:some:17:none, got {text!r}")
    examples, kept, layers, tower = found.groups()
    return Plan(int(examples), cast(Kept, kept), int(layers or 0), cast(Kept | None, tower))


def state_bytes(config: TrainConfig, model: Pi0Config) -> int:
    """Memory of parameters, their gradients and the optimizer's two moments [bytes].

    The gradients of a micro-batch take the place of its activations, beside their sum.
    """
    still = frozen_paths(model, config.freeze)
    wide = 2 if config.dtype == "bfloat16" else 4
    copies = 4 + (config.ema_decay is not None)
    return sum(
        math.prod(leaf.shape) * (wide if leaf.path in still else 4 * copies)
        for leaf in leaves(model)
    )


def activation_bytes(config: TrainConfig, model: Pi0Config, plan: Plan, examples: int) -> int:
    """Memory of what the backward pass of a micro-batch needs [bytes].

    Of each layer its input, and what ``kept`` names; besides, one layer of either tower while it
    is worked out again.

    Args:
        config: of the training.
        model: sizes.
        plan: of the training; its ``kept_layers`` are not counted.
        examples: of a device.
    """
    wide = 2 if config.dtype == "bfloat16" else 4
    size = plan.micro_batch
    seen = plan.seen_at_once(examples)
    kept, passing = _tower_bytes(model, plan.tower or plan.kept, wide)
    # The layers' activations are gone while those of the tower are worked out again.
    return seen * kept + max(size * _layer_bytes(model, plan.kept, wide), seen * passing)


def _tower_bytes(model: Pi0Config, kept: Kept, wide: int) -> tuple[int, int]:
    """Of one example: of all of the tower's layers, and of one that is worked out again."""
    v = model.vision
    pictures = len(model.cameras) * model.image_tokens
    each = {
        "none": v.width,
        "some": 2 * v.width,
        "all": 5 * v.width + v.mlp_dim,
    }[kept]
    areas = ((model.image_size >> i + 1) ** 2 for i in range(len(v.stem)))
    stem = 3 * len(model.cameras) * sum(map(math.prod, zip(areas, v.stem, strict=True)))
    return wide * v.depth * pictures * each + 4 * stem, 4 * wide * pictures * v.mlp_dim


def _layer_bytes(model: Pi0Config, kept: Kept, wide: int) -> int:
    """Of one example: of all layers of both experts, and of one that is worked out again."""
    g, a = model.language, model.action
    tokens = model.prefix_len
    language, action = g.width, a.width
    if kept != "none":
        language += g.width + _attention_width(g)
        keys = tokens + model.suffix_len
        action += a.width + _attention_width(a) + 2 * a.mlp_dim + a.num_heads * keys * 4 // wide
    if kept == "all":
        language += 2 * g.mlp_dim
    logits = tokens * (tokens + model.suffix_len) * g.num_heads * 4
    passing = 4 * tokens * (2 * g.mlp_dim) + 3 * logits // wide
    return wide * (g.depth * (tokens * language + model.suffix_len * action) + passing)


def _attention_width(expert: ExpertConfig) -> int:
    """Numbers of each token's queries, keys, values and what it has attended to."""
    return expert.qkv_dim + expert.num_heads * expert.head_dim


def make_plan(
    config: TrainConfig, model: Pi0Config, devices: int, memory_bytes: int | None
) -> Plan:
    """The fastest way that fits, by the costs of ``_cost``.

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
    state = state_bytes(config, model) / config.fsdp_devices
    free = _SHARE * memory_bytes - state
    plans: list[Plan] = []
    for size, kept, tower in itertools.product(sizes, levels, (*levels, None)):
        plan = Plan(size, kept, tower=tower)
        if tower and size == each:
            continue  # there is nothing in between
        needed = activation_bytes(config, model, plan, each)
        if needed <= free:
            more = _kept_layers(config, model, size, free - needed) if kept == "some" else 0
            plans.append(replace(plan, kept_layers=more))
    if plans:
        return min(plans, key=lambda plan: _cost(plan, each, model))
    needed = activation_bytes(config, model, Plan(sizes[-1], levels[-1]), each)
    raise TrainingError(
        f"not enough memory on a device: state and activations of {sizes[-1]} examples need about "
        f"{(state + needed) / 1e9:.1f} GB, usable are {_SHARE * memory_bytes / 1e9:.1f} GB; "
        "a LoRA config, freeze=vision or fsdp_devices help"
    )


def _cost(plan: Plan, examples: int, model: Pi0Config) -> float:
    """Relative time of a step: of what is worked out again, and of each micro-batch by itself.

    Measured on an H200 (``docs/performance.md``).
    """
    layers = plan.kept_layers / (model.language.depth - 1)
    again = {"none": 0.22, "some": 0.12, "all": 0.0}[plan.kept] * (1 - layers)
    seen = plan.seen_at_once(examples)
    each = _MICRO_BATCH_COST - _TOWER_COST
    return examples * (1 + again + each / plan.micro_batch + _TOWER_COST / seen)


def _kept_layers(config: TrainConfig, model: Pi0Config, size: int, spare: float) -> int:
    """Of how many layers everything can be kept besides, in the memory to spare [bytes]."""
    if config.remat != "auto" or not layers_are_frozen(model, config.freeze):
        return 0
    wide = 2 if config.dtype == "bfloat16" else 4
    each = wide * size * model.prefix_len * 2 * model.language.mlp_dim
    return min(int(spare / each), model.language.depth - 1)
