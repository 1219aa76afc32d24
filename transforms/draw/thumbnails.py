"""Heat-map thumbnails: the class map over the image, the box drawn, as JPEG."""

import cv2
import numpy as np

from transforms.locate.normalize import minmax, upsample
from transforms.records import Box, Image

HEAT_WEIGHT = 0.4  # of the colour map in the blend
_BOX_RGB = (255, 255, 255)


def render(image: Image, cam: np.ndarray, box: Box | None, quality: int) -> bytes:
    """Draws a class map as a heat map over an image's preview, and its box.

    Args:
      image: with a preview of (h, w, 3) uint8 RGB.
      cam: (h, w) float32 raw class map over the image's view.
      box: in original pixels, or None.
      quality: of the JPEG, 1 to 100.

    Returns:
      A JPEG file of the preview's size.
    """
    if image.preview is None:
        raise ValueError(f"{image.image_id} was decoded without a preview")
    height, width = image.preview.shape[:2]
    scale_x, scale_y = width / image.width, height / image.height
    x0, x1 = (round(x * scale_x) for x in image.view[::2])
    y0, y1 = (round(y * scale_y) for y in image.view[1::2])
    x1, y1 = max(x1, x0 + 1), max(y1, y0 + 1)
    drawn = cv2.cvtColor(image.preview, cv2.COLOR_RGB2BGR)
    seen = drawn[y0:y1, x0:x1]
    heat = cv2.applyColorMap((upsample(minmax(cam), x1 - x0, y1 - y0) * 255).astype(np.uint8), cv2.COLORMAP_JET)
    cv2.addWeighted(heat, HEAT_WEIGHT, seen, 1 - HEAT_WEIGHT, 0, dst=seen)
    if box:
        left_top = round(box.x0 * scale_x), round(box.y0 * scale_y)
        right_bottom = max(round(box.x1 * scale_x) - 1, 0), max(round(box.y1 * scale_y) - 1, 0)
        cv2.rectangle(drawn, left_top, right_bottom, (0, 0, 0), 3)
        cv2.rectangle(drawn, left_top, right_bottom, _BOX_RGB, 1)
    return cv2.imencode(".jpg", drawn, [cv2.IMWRITE_JPEG_QUALITY, quality])[1].tobytes()
