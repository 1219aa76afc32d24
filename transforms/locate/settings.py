"""How maps become boxes."""

from typing import Literal

import pydantic

from transforms.settings import Settings


class BoxSettings(Settings):
    """How maps become boxes."""

    threshold_frac: float = pydantic.Field(0.4, gt=0, lt=1)
    """Of the normalised map's maximum; what lies above it belongs to an object."""
    normalization: Literal["minmax", "max", "ivr", "pas"] = "pas"
    """How a raw map comes to lie in [0, 1], a key of `normalize.NORMALIZATIONS`."""
    components: Literal["largest", "all"] = "largest"
    """One box, or one for every connected component that is large enough."""
    min_area_frac: float = pydantic.Field(0.01, ge=0, lt=1)
    """Of the map; smaller components make no box, but the largest always does."""
    ivr_percentile: float = pydantic.Field(45.0, ge=0, lt=100)
    """Of the map; what lies below it counts as 0 where the normalisation is `ivr` (Kim et al. 2021: 30 to 50)."""
