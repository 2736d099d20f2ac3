"""GPU kernels of a packed model, where XLA would launch two to five each.

Those of the denoising loop, where a few rows meet many weights, are bound by the weights and keys
they read, once each; the rows, which every block reads, stay in the L2 cache. Rows are padded to
``ROWS``; padded rows stay finite and are never looked at. Written with Pallas for Triton;
``interpret`` runs them without a GPU.
"""

from trossen_pi0_policy.pi0.kernels.attention import attend_cached, attend_prefix
from trossen_pi0_policy.pi0.kernels.launching import available
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

__all__ = [
    "ROWS",
    "Modulation",
    "Tables",
    "add_normalise",
    "attend_cached",
    "attend_prefix",
    "available",
    "fits",
    "make_tables",
    "normalise",
    "project_geglu",
    "project_parts",
    "project_rope",
    "rms_normalise",
]
