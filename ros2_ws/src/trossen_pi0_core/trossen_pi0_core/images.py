"""Pictures as policies take them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image

POLICY_IMAGE_SIZE = (224, 224)
"""Height and width of the pictures that openpi's models take."""


def resize_with_pad(image: NDArray[np.uint8], height: int, width: int) -> NDArray[np.uint8]:
    """Scales a picture to fit and pads it with black; the aspect ratio is kept.

    Bilinear by PIL with rounding to uint8, as openpi resizes (``openpi_client/image_tools.py``).

    Args:
        image: uint8 RGB, shape (h, w, 3).
        height: of the result [pixels].
        width: of the result [pixels].

    Returns:
        uint8 RGB, shape (height, width, 3).
    """
    if image.shape[:2] == (height, width):
        return image
    ratio = max(image.shape[1] / width, image.shape[0] / height)
    scaled_height = max(1, int(image.shape[0] / ratio))
    scaled_width = max(1, int(image.shape[1] / ratio))
    scaled = Image.fromarray(image).resize(
        (scaled_width, scaled_height), resample=Image.Resampling.BILINEAR
    )
    canvas = np.zeros((height, width, 3), dtype=np.uint8)
    top, left = max(0, (height - scaled_height) // 2), max(0, (width - scaled_width) // 2)
    canvas[top : top + scaled_height, left : left + scaled_width] = np.asarray(scaled)
    return canvas
