"""The observation by which a policy is tried out before a run."""

from __future__ import annotations

import numpy as np

from trossen_pi0_core.contract import Observation
from trossen_pi0_core.parameters import PolicyParameters

_PICTURE_SHAPE = (480, 640, 3)


def trial_observation(parameters: PolicyParameters) -> Observation:
    """Arms at zero before black cameras."""
    names = parameters.joint_map.urdf_names
    return Observation(
        stamp_ns=0,
        joint_names=names,
        state=np.zeros(len(names)),
        images=dict.fromkeys(parameters.cameras, np.zeros(_PICTURE_SHAPE, dtype=np.uint8)),
        prompt=parameters.prompt,
    )
