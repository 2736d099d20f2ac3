"""Which parameters stay as they are."""

from __future__ import annotations

from trossen_pi0_core.errors import ParameterError
from trossen_pi0_policy.pi0.config import Pi0Config
from trossen_pi0_policy.pi0.parameters import Leaf, leaves

_LANGUAGE_MODEL = "PaliGemma/llm/"
_PICTURE_TOWER = "PaliGemma/img/"
_LAYERS = "layers/"
_ACTION_SUFFIX = "_1"


def frozen_paths(model: Pi0Config, freeze: str) -> frozenset[str]:
    """Paths of the leaves that are not trained, in our arrangement of the parameters.

    ``auto`` is what openpi's configs for LoRA freeze (``Pi0Config.get_freeze_filter``): all of the
    two transformers but the adapters; of an expert without adapters nothing. Without any adapters
    nothing is frozen.

    Args:
        model: sizes.
        freeze: ``auto``, ``vision`` (the picture tower besides) or ``none``.

    Raises:
        ParameterError: another value of ``freeze``.
    """
    if freeze not in ("auto", "vision", "none"):
        raise ParameterError(f"freeze must be auto, vision or none, got {freeze!r}")
    if freeze == "none":
        return frozenset()
    return frozenset(leaf.path for leaf in leaves(model) if _is_frozen(leaf, model, freeze))


def layers_are_frozen(model: Pi0Config, freeze: str) -> bool:
    """Whether of the layers of both transformers nothing is trained but the adapters."""
    paths = [leaf.path for leaf in leaves(model) if leaf.path.startswith(_LAYERS)]
    return frozen_paths(model, freeze).issuperset(path for path in paths if "lora" not in path)


def _is_frozen(leaf: Leaf, model: Pi0Config, freeze: str) -> bool:
    path = leaf.parts[0].path  # the parts of a leaf are of one layer
    if path.startswith(_PICTURE_TOWER):
        return freeze == "vision"
    if not path.startswith(_LANGUAGE_MODEL) or "lora" in path:
        return False
    names = path.split("/")
    is_action = any(name.endswith(_ACTION_SUFFIX) for name in names)
    expert = model.action if is_action else model.language
    return expert.lora is not None
