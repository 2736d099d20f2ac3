"""Policy backends: observations in, rows of joint targets out."""

from trossen_pi0_policy.backends.base import (
    BackendContext,
    GroundTruth,
    Inference,
    InferenceRequest,
    LatestGroundTruth,
    PolicyBackend,
    PrefixSupport,
)
from trossen_pi0_policy.backends.registry import backend_names, make_backend

__all__ = [
    "BackendContext",
    "GroundTruth",
    "Inference",
    "InferenceRequest",
    "LatestGroundTruth",
    "PolicyBackend",
    "PrefixSupport",
    "backend_names",
    "make_backend",
]
