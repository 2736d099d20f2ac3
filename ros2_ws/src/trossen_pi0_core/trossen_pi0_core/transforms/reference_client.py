"""Pictures as the vendor's client sends them, for checkpoints that were only ever used that way.

TrossenRobotics/openpi ``examples/trossen_ai/main.py`` calls ``cv2.resize(rgb, (224, 224))``, which
is bilinear without antialiasing and squashes 4:3 to a square, and then exchanges red and blue by
``COLOR_BGR2RGB``, although the camera driver's frames are RGB already. Training pads instead and
keeps the colours, so this is no choice for new checkpoints.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray


def squash_and_swap(image: NDArray[np.uint8], height: int, width: int) -> NDArray[np.uint8]:
    """The picture as the vendor's client would send it.

    Args:
        image: uint8 RGB as the camera gives it, neither squashed nor padded, shape (h, w, 3).
        height: of the result [pixels].
        width: of the result [pixels].

    Returns:
        uint8, blue first, shape (height, width, 3); the same size in is not resampled.
    """
    squashed = cv2.resize(np.ascontiguousarray(image), (width, height))
    return np.ascontiguousarray(squashed[..., ::-1], dtype=np.uint8)
