"""What thumbnails look like."""

import pydantic

from transforms.settings import Settings


class ThumbnailSettings(Settings):
    """What thumbnails look like, and whether there are any."""

    enabled: bool = True
    """Whether rows have thumbnails."""
    side_px: int = pydantic.Field(224, ge=16, le=2048)
    """Of the longer side."""
    quality: int = pydantic.Field(80, ge=1, le=100)
    """Of the JPEG."""
    draw_boxes: bool = True
    """Whether the best box of the most probable class is drawn."""
