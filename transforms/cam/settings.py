"""Which class maps are made."""

from typing import Literal

import pydantic

from transforms.cam.method import Weights
from transforms.cam.methods import METHODS
from transforms.settings import Settings


class CamSettings(Settings):
    """Which class maps are made."""

    top_k: int = pydantic.Field(1, ge=1, le=1000)
    """Most probable classes of an image that get a map and boxes."""
    include_label: bool = False
    """Whether the sample's own label gets them too, even where it is not among the top k."""
    method: str = "cam"
    """How maps are made, a key of `methods.METHODS`: `grad-cam` is for models without a pooled head."""
    weights: Weights = "positive"
    """`positive`: negative weights of the head count as 0, in the maps only."""
    resolution: Literal[7, 14] = 7
    """14: twice as many rows and columns as the model has, at half as much compute again."""
    refine: Literal["none", "affinity"] = "none"
    """`affinity`: maps are smoothed over what looks alike, at 14x14."""
    flip: bool = False
    """Whether maps are averaged with those of the mirrored image, at twice the compute."""

    @pydantic.field_validator("method")
    @classmethod
    def _known(cls, method: str) -> str:
        if method not in METHODS:
            raise ValueError(f"must be {' or '.join(map(repr, METHODS))}")
        return method
