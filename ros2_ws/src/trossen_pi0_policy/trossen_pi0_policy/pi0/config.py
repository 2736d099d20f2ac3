"""Sizes of π0 and π0.5, by name. Importable without JAX."""

from __future__ import annotations

import difflib
import itertools
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

from trossen_pi0_core.errors import ParameterError

PALIGEMMA_VOCABULARY = 257_152
"""Rows of PaliGemma's embedding table."""

BYTE_VOCABULARY = 259
"""Rows of an embedding table for ``ByteTokenizer``."""

CAMERA_KEYS = ("base_0_rgb", "left_wrist_0_rgb", "right_wrist_0_rgb")
"""Names of the pictures of the released checkpoints, in the order the model takes them."""

EXTRA_CAMERA_KEYS = ("low_0_rgb",)
"""Names of further pictures, for checkpoints trained with them."""


@dataclass(frozen=True)
class LoraConfig:
    """Low-rank adaptation of a weight (arXiv 2106.09685).

    Attributes:
        rank: inner width.
        alpha: the product is scaled by ``alpha / rank`` in attention; as in openpi, the
            feed-forward layers do not scale.
    """

    rank: int
    alpha: float

    @property
    def scale(self) -> float:
        """Factor of the product in attention."""
        return self.alpha / self.rank


@dataclass(frozen=True)
class ExpertConfig:
    """One of the two Gemma transformers (``openpi/models/gemma.py``).

    Attributes:
        width: of the residual stream.
        depth: layers; the same for both experts.
        mlp_dim: width between the two halves of the feed-forward layer.
        num_heads: query heads; the same for both experts, as the next two.
        num_kv_heads: key and value heads, fewer than the query heads.
        head_dim: of queries, keys and values.
        lora: adapters of attention and feed-forward layers.
    """

    width: int
    depth: int
    mlp_dim: int
    num_heads: int = 8
    num_kv_heads: int = 1
    head_dim: int = 256
    lora: LoraConfig | None = None

    def __post_init__(self) -> None:
        if self.num_heads % self.num_kv_heads or self.num_heads == self.num_kv_heads:
            raise ParameterError(
                f"num_heads must be a multiple of num_kv_heads and larger, "
                f"got {self.num_heads} and {self.num_kv_heads}"
            )
        if self.head_dim % 2:
            raise ParameterError(f"head_dim must be even, got {self.head_dim}")

    @property
    def qkv_dim(self) -> int:
        """Columns of queries, keys and values together."""
        return (self.num_heads + 2 * self.num_kv_heads) * self.head_dim


STEM_GROUP = 8
"""Channels that are normalised together in the stem of a picture tower."""


@dataclass(frozen=True)
class VisionConfig:
    """The picture tower (SigLIP, arXiv 2303.15343).

    Attributes:
        width: of the residual stream.
        depth: layers.
        mlp_dim: width between the two halves of the feed-forward layer.
        num_heads: attention heads.
        patch_size: edge of a patch [pixels].
        stem: channels of convolutions of stride 2 before the patches, the first 5x5, the others
            3x3 (arXiv 2106.14881), each normalised in groups of ``STEM_GROUP`` channels
            (arXiv 1803.08494); empty: none, as SigLIP has none.
    """

    width: int
    depth: int
    mlp_dim: int
    num_heads: int
    patch_size: int = 14
    stem: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        if self.width % self.num_heads:
            raise ParameterError(
                f"vision width must be a multiple of num_heads, "
                f"got {self.width} and {self.num_heads}"
            )
        if self.width % 4:  # sine and cosine of two coordinates
            raise ParameterError(f"vision width must be a multiple of 4, got {self.width}")
        if self.patch_size % self.stem_stride:
            raise ParameterError(
                f"patch_size must be a multiple of {self.stem_stride}, by which the stem makes "
                f"pictures smaller, got {self.patch_size}"
            )
        if any(channels % STEM_GROUP for channels in self.stem):
            raise ParameterError(
                f"channels of the stem must be multiples of {STEM_GROUP}, got {list(self.stem)}"
            )

    @property
    def stem_stride(self) -> int:
        """By how much the stem makes pictures smaller [1]."""
        return 2 ** len(self.stem)

    @property
    def stem_kernels(self) -> tuple[tuple[int, int, int, int], ...]:
        """Shapes of the stem's kernels: height, width, inputs, outputs."""
        channels = itertools.pairwise((3, *self.stem))
        sizes = (3 if i else 5 for i in range(len(self.stem)))
        return tuple((size, size, *pair) for size, pair in zip(sizes, channels, strict=True))

    @property
    def patch_shape(self) -> tuple[int, int, int]:
        """What is made a token of: height, width, channels; of the picture or of the stem's."""
        edge = self.patch_size // self.stem_stride
        return edge, edge, (3, *self.stem)[-1]


@dataclass(frozen=True)
class Pi0Config:
    """Everything that decides which parameters a model has and what it takes.

    Attributes:
        vision: the picture tower.
        language: the expert of pictures and prompt.
        action: the expert of state and actions.
        pi05: π0.5: the flow time enters by adaptive norms, the state as text in the prompt.
        action_dim: width of padded states and actions.
        action_horizon: rows of a chunk.
        max_token_len: tokens of a padded prompt.
        cameras: names of the pictures, in the order the model takes them.
        image_size: edge of the square pictures [pixels].
        tokenizer: which one the prompts are cut by.
        vocab_size: rows of the embedding table.
    """

    vision: VisionConfig
    language: ExpertConfig
    action: ExpertConfig
    pi05: bool = False
    action_dim: int = 32
    action_horizon: int = 50
    max_token_len: int = 48
    cameras: tuple[str, ...] = CAMERA_KEYS
    image_size: int = 224
    tokenizer: Literal["paligemma", "bytes"] = "paligemma"
    vocab_size: int = PALIGEMMA_VOCABULARY

    def __post_init__(self) -> None:
        for name in ("depth", "num_heads", "num_kv_heads", "head_dim"):
            values = getattr(self.language, name), getattr(self.action, name)
            if values[0] != values[1]:
                raise ParameterError(f"both experts need the same {name}, got {values}")
        if self.image_size % self.vision.patch_size:
            raise ParameterError(
                f"image_size must be a multiple of the patch size {self.vision.patch_size}, "
                f"got {self.image_size}"
            )
        if not self.cameras or len(set(self.cameras)) != len(self.cameras):
            raise ParameterError(f"cameras must be different names, got {list(self.cameras)}")

    @property
    def image_tokens(self) -> int:
        """Tokens of one picture."""
        return (self.image_size // self.vision.patch_size) ** 2

    @property
    def prefix_len(self) -> int:
        """Tokens of all pictures and the prompt."""
        return len(self.cameras) * self.image_tokens + self.max_token_len

    @property
    def suffix_len(self) -> int:
        """Tokens of the state, where it is one, and the actions."""
        return self.action_horizon + (0 if self.pi05 else 1)

    @property
    def has_lora(self) -> bool:
        """Whether either expert has adapters."""
        return self.language.lora is not None or self.action.lora is not None


SO400M = VisionConfig(width=1152, depth=27, mlp_dim=4304, num_heads=16)
"""So400m/14, the tower of PaliGemma."""

_EXPERTS = {
    "gemma_2b": ExpertConfig(width=2048, depth=18, mlp_dim=16_384),
    "gemma_300m": ExpertConfig(width=1024, depth=18, mlp_dim=4096),
    "gemma_2b_lora": ExpertConfig(
        width=2048, depth=18, mlp_dim=16_384, lora=LoraConfig(rank=16, alpha=16.0)
    ),
    "gemma_300m_lora": ExpertConfig(
        width=1024, depth=18, mlp_dim=4096, lora=LoraConfig(rank=32, alpha=32.0)
    ),
    "dummy": ExpertConfig(width=64, depth=4, mlp_dim=128, head_dim=16),
}

_TINY_EXPERT = ExpertConfig(width=32, depth=2, mlp_dim=64, num_heads=4, head_dim=8)
_SIM_EXPERT = ExpertConfig(width=128, depth=4, mlp_dim=256, num_heads=4, head_dim=32)


def openpi_config(
    paligemma_variant: str = "gemma_2b",
    action_expert_variant: str = "gemma_300m",
    *,
    pi05: bool = False,
    max_token_len: int | None = None,
) -> Pi0Config:
    """The model that openpi builds from these fields of its ``Pi0Config``.

    Raises:
        ParameterError: a variant that openpi does not have.
    """
    for name in (paligemma_variant, action_expert_variant):
        if name not in _EXPERTS:
            raise ParameterError(f"variant {name!r} is not one of {list(_EXPERTS)}")
    return Pi0Config(
        vision=SO400M,
        language=_EXPERTS[paligemma_variant],
        action=_EXPERTS[action_expert_variant],
        pi05=pi05,
        max_token_len=max_token_len or (200 if pi05 else 48),
    )


_PRESETS = {
    "pi0": openpi_config(),
    "pi0_lora": openpi_config("gemma_2b_lora", "gemma_300m_lora"),
    "pi05": openpi_config(pi05=True),
    "pi05_lora": openpi_config("gemma_2b_lora", "gemma_300m_lora", pi05=True),
    "dummy": openpi_config("dummy", "dummy"),
    "pi05_dummy": openpi_config("dummy", "dummy", pi05=True),
    "tiny": Pi0Config(
        vision=VisionConfig(width=32, depth=2, mlp_dim=64, num_heads=2),
        language=_TINY_EXPERT,
        action=_TINY_EXPERT,
        image_size=56,
        tokenizer="bytes",
        vocab_size=BYTE_VOCABULARY,
    ),
    "sim": Pi0Config(
        vision=VisionConfig(
            width=192, depth=1, mlp_dim=384, num_heads=4, patch_size=48, stem=(16, 32, 64, 64)
        ),
        language=_SIM_EXPERT,
        action=replace(_SIM_EXPERT, width=160, mlp_dim=512),
        image_size=96,
        tokenizer="bytes",
        vocab_size=BYTE_VOCABULARY,
    ),
}


def config_names() -> tuple[str, ...]:
    """Names of the presets. ``get_config`` takes others as well."""
    return tuple(_PRESETS)


def known_names() -> tuple[str, ...]:
    """What a checkpoint may be: presets, and openpi's variants mixed as none of them does."""
    mixed = ("gemma_2b_lora+gemma_300m", "gemma_2b+gemma_300m_lora")
    return (*_PRESETS, *mixed, *(f"pi05_{name}" for name in mixed))


def get_config(name: str) -> Pi0Config:
    """A configuration by name.

    Args:
        name: a preset; or openpi's variants of the two experts joined by ``+``
            (``gemma_2b_lora+gemma_300m``), one alone standing beside the other's default, and
            behind ``pi05_`` for π0.5.

    Raises:
        ParameterError: no such name; the closest one is offered.
    """
    if name in _PRESETS:
        return _PRESETS[name]
    variants = name.removeprefix("pi05_").split("+")
    if len(variants) <= 2 and all(v in _EXPERTS for v in variants):
        if len(variants) == 1:
            is_action = variants[0].startswith("gemma_300m")
            variants = ["gemma_2b", *variants] if is_action else [*variants, "gemma_300m"]
        return openpi_config(*variants, pi05=name.startswith("pi05_"))
    close = difflib.get_close_matches(name, _PRESETS, n=1)
    hint = f"; did you mean {close[0]!r}?" if close else ""
    raise ParameterError(
        f"config {name!r} is not one of {list(_PRESETS)}, nor made of {list(_EXPERTS)} "
        f"as in 'gemma_2b_lora+gemma_300m'{hint}"
    )


def config_to_dict(config: Pi0Config) -> dict[str, Any]:
    """The config in JSON's types."""
    return asdict(config)


def config_from_dict(values: Mapping[str, Any]) -> Pi0Config:
    """The config that ``config_to_dict`` took apart.

    Raises:
        ParameterError: missing or unknown fields, or values that are not allowed.
    """
    try:
        experts = {name: _expert(values[name]) for name in ("language", "action")}
        vision = {**values["vision"], "stem": tuple(values["vision"].get("stem", ()))}
        parts = {"vision": VisionConfig(**vision), **experts}
        return Pi0Config(**{**values, **parts, "cameras": tuple(values["cameras"])})
    except (KeyError, TypeError) as error:
        raise ParameterError(
            f"the description of a model's config is incomplete: {error}"
        ) from error


def _expert(values: Mapping[str, Any]) -> ExpertConfig:
    lora = values.get("lora")
    return ExpertConfig(**{**values, "lora": lora and LoraConfig(**lora)})


def with_cameras(config: Pi0Config, count: int) -> Pi0Config:
    """The same model for another number of cameras: the parameters do not depend on it.

    Raises:
        ParameterError: there are no names for so many.
    """
    names = CAMERA_KEYS + EXTRA_CAMERA_KEYS
    if not 1 <= count <= len(names):
        raise ParameterError(f"cameras: need 1 to {len(names)}, got {count}")
    return replace(config, cameras=names[:count])
