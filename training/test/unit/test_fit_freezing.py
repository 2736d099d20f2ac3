"""Which parameters LoRA leaves as they are, of models of full size."""

from __future__ import annotations

import pytest

from trossen_pi0_core.errors import ParameterError
from trossen_pi0_policy.pi0.config import get_config
from trossen_pi0_policy.pi0.parameters import leaves
from trossen_pi0_training.fit.freezing import frozen_paths

EXPERT = {"attention_norm/scale", "qkv/kernel", "out/kernel", "mlp_norm/scale"}
EXPERT |= {"gate_up/kernel", "down/kernel"}


def of_expert(expert: str) -> set[str]:
    return {f"layers/{expert}/{name}" for name in EXPERT}


def test_adapters_on_both_experts_leave_only_the_language_model():
    wanted = of_expert("language") | of_expert("action")
    wanted |= {"embedding", "language_norm/scale", "action_norm/scale"}
    assert frozen_paths(get_config("pi0_lora"), "auto") == wanted


def test_adaptive_norms_of_pi05_are_frozen_with_their_expert():
    frozen = frozen_paths(get_config("pi05_lora"), "auto")
    assert "layers/action/mlp_norm/modulation/kernel" in frozen
    assert not any(path.startswith(("vision", "time", "action_")) for path in frozen) or (
        {path for path in frozen if path.startswith("action_")}
        == {"action_norm/modulation/kernel", "action_norm/modulation/bias"}
    )


def test_adapters_on_one_expert_freeze_that_one():
    frozen = frozen_paths(get_config("gemma_2b_lora+gemma_300m"), "auto")
    assert frozen == of_expert("language") | {"embedding", "language_norm/scale"}
    frozen = frozen_paths(get_config("gemma_2b+gemma_300m_lora"), "auto")
    assert frozen == of_expert("action") | {"action_norm/scale"}


def test_without_adapters_everything_is_trained():
    assert not frozen_paths(get_config("pi0"), "auto")


def test_the_picture_tower_is_frozen_if_asked_for():
    config = get_config("pi0_lora")
    more = frozen_paths(config, "vision") - frozen_paths(config, "auto")
    assert more == {leaf.path for leaf in leaves(config) if leaf.path.startswith("vision/")}
    assert len(more) > 5


def test_another_choice_is_refused():
    with pytest.raises(ParameterError, match="freeze must be auto, vision or none, got 'all'"):
        frozen_paths(get_config("pi0"), "all")
