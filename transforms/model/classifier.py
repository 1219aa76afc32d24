"""A loaded model, split into features and a head."""

from collections.abc import Callable
from dataclasses import dataclass

from transforms.cam.method import CamMethod, Features, Tensor
from transforms.errors import UserError

DEFAULT_SIDE_PX = 224  # of a model that takes any size


@dataclass(frozen=True)
class Classifier:
    """A loaded model, split into features and a head.

    Attributes:
      name: of the model, for people.
      side_px: of its square input.
      preprocess: a kind that `preprocess.preprocess` knows.
      method: makes its class maps, and holds its head.
      features: (dtype name) -> function from (n, side, side, 3) preprocessed float32 images to features, to be traced
        inside a `tf.function`.
      outputs: the model as it was loaded, from preprocessed images to (n, classes).
      float32_only: `features` has no other dtype.
    """

    name: str
    side_px: int
    preprocess: str
    method: CamMethod
    features: Callable[[str], Callable[[Tensor], Features]]
    outputs: Callable[[Tensor], Tensor]
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
