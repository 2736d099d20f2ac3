"""Requests to model inputs and model outputs to joint targets, without JAX."""

from trossen_pi0_core.transforms.actions import (
    ALOHA_DELTA_RUNS,
    mask_from_runs,
    pad_last,
    to_absolute,
    to_delta,
)
from trossen_pi0_core.transforms.norm_stats import (
    NormStats,
    load_norm_stats,
    normalise,
    save_norm_stats,
    unnormalise,
)
from trossen_pi0_core.transforms.policy import (
    OPENPI_CAMERAS,
    ModelInputs,
    PolicyTransform,
    TransformConfig,
)
from trossen_pi0_core.transforms.tokenizer import (
    ByteTokenizer,
    SentencePieceTokenizer,
    Tokenizer,
    tokenize_prompt,
)

__all__ = [
    "ALOHA_DELTA_RUNS",
    "OPENPI_CAMERAS",
    "ByteTokenizer",
    "ModelInputs",
    "NormStats",
    "PolicyTransform",
    "SentencePieceTokenizer",
    "Tokenizer",
    "TransformConfig",
    "load_norm_stats",
    "mask_from_runs",
    "normalise",
    "pad_last",
    "save_norm_stats",
    "to_absolute",
    "to_delta",
    "tokenize_prompt",
    "unnormalise",
]
