"""What openpi was asked: model sizes and inputs of the golden arrays, by recipe."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from peers.parameter_recipe import seeded_bits, seeded_uniform

CAMERAS = ("base_0_rgb", "left_wrist_0_rgb", "right_wrist_0_rgb")
IMAGE_SIZE = 224
ACTION_DIM = 32


@dataclass(frozen=True)
class TowerSize:
    """Sizes of the image tower; ``patch_size`` in pixels."""

    width: int
    depth: int
    mlp_dim: int
    num_heads: int
    patch_size: int = 14


@dataclass(frozen=True)
class ExpertSize:
    """Sizes of one expert; ``lora`` is (rank, alpha) of attention and feed-forward adapters."""

    width: int
    depth: int
    mlp_dim: int
    num_heads: int
    num_kv_heads: int
    head_dim: int
    lora: tuple[int, float] | None = None


@dataclass(frozen=True)
class GoldenCase:
    """One model with one batch of inputs.

    Attributes:
        name: of the file with openpi's answers.
        tower, language, action: sizes.
        vocab_size: rows of the embedding table.
        horizon: rows of an action chunk.
        max_token_len: tokens of a padded prompt.
        image_masks: for each row of the batch, which cameras are valid, in CAMERAS' order.
        prompt_lens: for each row of the batch, how many tokens are valid.
        times: for each row of the batch, the flow time of the loss (1 is noise).
        seed: of parameters and inputs.
        steps: openpi's actions are there for these numbers of steps.
        loss: whether openpi's loss is there.
        bfloat16: whether openpi's answers in bfloat16 are there as well.
    """

    name: str
    tower: TowerSize
    language: ExpertSize
    action: ExpertSize
    seed: int
    pi05: bool = False
    vocab_size: int = 512
    horizon: int = 16
    max_token_len: int = 12
    image_masks: tuple[tuple[bool, bool, bool], ...] = (
        (True, True, True),
        (True, True, True),
    )
    prompt_lens: tuple[int, ...] = (12, 12)
    times: tuple[float, ...] = (0.25, 0.8125)
    steps: tuple[int, ...] = (10, 5)
    loss: bool = True
    bfloat16: bool = False

    def __post_init__(self) -> None:
        lengths = {len(self.image_masks), len(self.prompt_lens), len(self.times)}
        if len(lengths) != 1:
            raise ValueError(f"{self.name}: image_masks, prompt_lens and times differ in length")

    @property
    def batch(self) -> int:
        """Rows of the batch."""
        return len(self.prompt_lens)


@dataclass(frozen=True)
class GoldenInputs:
    """Inputs of one case, batch first.

    Attributes:
        images: uint8 (batch, cameras, 224, 224, 3).
        image_masks: bool (batch, cameras).
        state: float32 (batch, 32), normalised; π0.5 does not read it.
        tokens: int32 (batch, max_token_len).
        token_mask: bool (batch, max_token_len).
        noise: float32 (batch, horizon, 32), where sampling starts, and the noise of the loss.
        actions: float32 (batch, horizon, 32), the target of the loss.
        time: float32 (batch,) of the loss.
    """

    images: np.ndarray
    image_masks: np.ndarray
    state: np.ndarray
    tokens: np.ndarray
    token_mask: np.ndarray
    noise: np.ndarray
    actions: np.ndarray
    time: np.ndarray


def golden_inputs(case: GoldenCase) -> GoldenInputs:
    """The inputs of a case, from its seed.

    Masked pictures and tokens hold random values as well: nothing may depend on them.
    """
    seed, batch = case.seed, case.batch
    pixels = (batch, len(CAMERAS), IMAGE_SIZE, IMAGE_SIZE, 3)
    bits = seeded_bits(seed, "images", int(np.prod(pixels)) // 4)
    tokens = seeded_bits(seed, "tokens", batch * case.max_token_len) % case.vocab_size
    chunk = (batch, case.horizon, ACTION_DIM)
    return GoldenInputs(
        images=bits.view(np.uint8).reshape(pixels),
        image_masks=np.asarray(case.image_masks, bool),
        state=seeded_uniform(seed, "state", (batch, ACTION_DIM)),
        tokens=tokens.astype(np.int32).reshape(batch, case.max_token_len),
        token_mask=np.arange(case.max_token_len) < np.asarray(case.prompt_lens)[:, None],
        noise=seeded_uniform(seed, "noise", chunk),
        actions=seeded_uniform(seed, "actions", chunk),
        time=np.asarray(case.times, np.float32),
    )


_TOWER = TowerSize(width=40, depth=2, mlp_dim=72, num_heads=4)
_LANGUAGE = ExpertSize(width=64, depth=3, mlp_dim=128, num_heads=8, num_kv_heads=1, head_dim=16)
_ACTION = replace(_LANGUAGE, width=48, mlp_dim=96)
_LORA = {
    "language": replace(_LANGUAGE, lora=(4, 8.0)),
    "action": replace(_ACTION, lora=(2, 6.0)),
}
_MASKED = {
    "image_masks": ((True, True, False), (True, False, True), (True, False, False)),
    "times": (0.0625, 0.5, 0.96875),
}

SO400M = TowerSize(width=1152, depth=27, mlp_dim=4304, num_heads=16)
DUMMY = ExpertSize(width=64, depth=4, mlp_dim=128, num_heads=8, num_kv_heads=1, head_dim=16)

_PI0 = GoldenCase("pi0", _TOWER, _LANGUAGE, _ACTION, seed=1)

CASES = {
    case.name: case
    for case in (
        _PI0,
        replace(_PI0, name="pi0_masked", seed=2, prompt_lens=(3, 7, 1), bfloat16=True, **_MASKED),
        replace(
            _PI0,
            name="pi05",
            seed=3,
            pi05=True,
            max_token_len=20,
            prompt_lens=(5, 20, 9),
            bfloat16=True,
            **_MASKED,
        ),
        replace(_PI0, name="pi0_lora", seed=4, prompt_lens=(4, 12), **_LORA),
        replace(_PI0, name="pi05_lora", seed=5, pi05=True, prompt_lens=(12, 4), **_LORA),
        GoldenCase(
            "dummy",
            SO400M,
            DUMMY,
            DUMMY,
            seed=6,
            vocab_size=257_152,
            horizon=50,
            max_token_len=48,
            image_masks=((True, True, False),),
            prompt_lens=(20,),
            times=(0.5,),
            steps=(10,),
            loss=False,
        ),
    )
}
"""By name. ``dummy`` is openpi's own configuration of that name, with the full image tower."""
