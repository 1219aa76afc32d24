"""The interface of methods that make class maps, and the features that they make them from."""

from typing import Any, Literal, NamedTuple, Protocol

Tensor = Any  # of TensorFlow, which is imported where maps are made
Weights = Literal["signed", "positive"]


class Features(NamedTuple):
    """What a classifier makes of n images before its head, float32.

    Attributes:
      images: (n, side, side, 3), as the model takes them.
      dense: (n, H, W, channels), what maps are made from.
      coarse: (n, h, w, channels), what the head takes: `dense`, or every second row and column of it where
        `cam.resolution` is 14.
      stage: features of an earlier stage, where maps are refined.
    """

    images: Tensor
    dense: Tensor
    coarse: Tensor
    stage: Tensor | None = None


class Head(Protocol):
    """The layers of a classifier between its features and its logits."""

    @property
    def features(self) -> Any:
        """The value that the layers start from, as its graph knows it: by number, or a tensor by name."""

    @property
    def num_classes(self) -> int:
        """The number of logits."""

    @property
    def softmax(self) -> bool:
        """Whether the model's own output is probabilities, not logits."""

    @property
    def description(self) -> str:
        """The layers, for people."""

    def logits(self, features: Tensor) -> Tensor:
        """(n, h, w, channels) features -> (n, classes)."""


class CamMethod(Protocol):
    """A method that makes the class maps of one classifier, whose head it has found."""

    @property
    def head(self) -> Head:
        """The classifier's head."""

    def maps(self, features: Features, class_index: Tensor) -> Tensor:
        """Makes the raw maps, without ReLU or normalisation, of (n, k) classes: (n, k, H, W) float32."""
