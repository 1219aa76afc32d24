"""A loaded model, split into features and a head."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from transforms.errors import UserError

DEFAULT_SIDE_PX = 224  # of a model that takes any size


@dataclass(frozen=True)
class Classifier:
    """A loaded model, split into features and a head.

    Attributes:
      name: of the model, for people.
      side_px: of its square input.
      preprocess: a kind that `preprocess.preprocess` knows.
      head: from features to logits, and the weights of the features in the maps.
      features: (dtype name) -> function from (n, side, side, 3) preprocessed float32 to a list: the (n, h, w, channels)
        features and, where maps are refined, those of an earlier stage; to be traced inside a `tf.function`.
      outputs: the model as it was loaded, from preprocessed images to (n, classes).
      map_step: the features that the head takes are every map_step-th row and column, from the first on.
      float32_only: `features` has no other dtype.
    """

    name: str
    side_px: int
    preprocess: str
    head: Any
    features: Callable[[str], Callable[[Any], list[Any]]]
    outputs: Callable[[Any], Any]
    map_step: int = 1
    float32_only: bool = False


def square_side_px(shape: tuple[int | None, ...]) -> int:
    """Returns the side of a model's square input of shape (n, h, w, 3).

    Raises:
      UserError: it is no square, or has not three channels.
    """
    if len(shape) != 4 or shape[3] != 3:
        raise UserError(f"the model's input has shape {tuple(shape)}, expected (n, height, width, 3)")
    height, width = shape[1] or DEFAULT_SIDE_PX, shape[2] or DEFAULT_SIDE_PX
    if height != width:
        raise UserError(f"the model's input is {width}x{height}, expected a square")
    return height
