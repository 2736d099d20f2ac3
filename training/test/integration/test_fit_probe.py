"""Whether kernels are used is found by trying them."""

import jax
import pytest

from trossen_pi0_policy.pi0 import kernels
from trossen_pi0_training.fit.probe import kernel_passes, passes_agree


@pytest.mark.skipif(not kernels.available(), reason="no Pallas for Triton in this JAX")
def test_kernels_that_give_something_else_are_found(monkeypatch, caplog):
    assert passes_agree("interpret", rows=128)
    narrow = kernels.narrow

    def off(*given, **how):
        out, inner = narrow(*given, **how)
        return 1.1 * out, inner

    monkeypatch.setattr(kernels, "narrow", off)
    assert not passes_agree("interpret", rows=128)
    assert "the kernels (interpret) are off by" in caplog.text


@pytest.mark.skipif(jax.default_backend() == "gpu", reason="for machines without a GPU")
def test_without_a_gpu_there_are_none():
    assert kernel_passes() == "none"
