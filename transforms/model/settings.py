"""Which classifier, and how it is run."""

from typing import Any, Literal

import pydantic

from transforms.model.preprocess import Preprocessing
from transforms.settings import Settings


class ModelSettings(Settings):
    """Which classifier, and how it is run."""

    source: str = "imagenet"
    """demo, imagenet, the path of a .keras file, or the folder of a SavedModel: see `sources.SOURCES`."""
    class_names: str | None = None
    """A file with one name per line; by default the model's own names."""
    preprocess: Literal["auto", Preprocessing] = "auto"
    """What is done to pixels before they reach the model, see `preprocess.preprocess`; with `auto` the model tells."""
    precision: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    """What the model computes in; `auto` takes what the device is fastest with."""
    batch_size: int | Literal["auto"] = "auto"
    """Images that pass through the pipeline together, and that a GPU gets at a time."""
    resize: Literal["squash", "center_crop"] = "squash"
    """Whether the model sees the whole image, squashed to a square, or the square in its middle."""

    @pydantic.field_validator("batch_size")
    @classmethod
    def _positive(cls, value: Any) -> Any:
        if value != "auto" and not 1 <= value <= 4096:
            raise ValueError("must be 'auto' or lie in [1, 4096]")
        return value
