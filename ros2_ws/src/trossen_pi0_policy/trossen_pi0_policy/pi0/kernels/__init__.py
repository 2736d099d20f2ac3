"""GPU kernels of a packed model and of a training, where XLA would launch two to five each.

Those of the denoising loop, where a few rows meet many weights, are bound by the weights and keys
they read, once each; the rows, which every block reads, stay in the L2 cache. Rows are padded to
``ROWS``; padded rows stay finite and are never looked at. Written with Pallas for Triton;
``interpret`` runs them without a GPU.
"""

from trossen_pi0_policy.pi0.kernels.attention import attend_cached, attend_prefix
from trossen_pi0_policy.pi0.kernels.geglu import geglu_fits, geglu_gradient, has_geglu
from trossen_pi0_policy.pi0.kernels.gelu import (
    bias_gelu,
    bias_gelu_gradient,
    gated_gelu,
    gelu_fits,
)
from trossen_pi0_policy.pi0.kernels.launching import Passes, available
from trossen_pi0_policy.pi0.kernels.projections import (
    add_normalise,
    fits,
    project_geglu,
    project_parts,
    project_rope,
)
from trossen_pi0_policy.pi0.kernels.tables import (
    ROWS,
    Modulation,
    Tables,
    make_tables,
    normalise,
    rms_normalise,
)
from trossen_pi0_policy.pi0.kernels.widening import (
    narrow,
    normalise_widen_gradient,
    rotate_back,
    rotation_fits,
    widening_fits,
)

__all__ = [
    "ROWS",
    "Modulation",
    "Passes",
    "Tables",
    "add_normalise",
    "attend_cached",
    "attend_prefix",
    "available",
    "bias_gelu",
    "bias_gelu_gradient",
    "fits",
    "gated_gelu",
    "geglu_fits",
    "geglu_gradient",
    "gelu_fits",
    "has_geglu",
    "make_tables",
    "narrow",
    "normalise",
    "normalise_widen_gradient",
    "project_geglu",
    "project_parts",
    "project_rope",
    "rms_normalise",
    "rotate_back",
    "rotation_fits",
    "widening_fits",
]
