"""The interface of engines, which label batches of images with scores and class maps."""

from collections.abc import Sequence
from typing import NamedTuple, Protocol

import numpy as np

from transforms.predict.device import Device
from transforms.records import Predictions

Labels = Sequence[int | None]


class ModelDescription(NamedTuple):
    """What an engine says of the model that it runs.

    Attributes:
      name: of the model.
      head: the layers between the features and the logits, for people.
      preprocess: what is done to pixels before they reach the model, a kind that `preprocess.preprocess` knows.
    """

    name: str
    head: str
    preprocess: str


class Engine(Protocol):
    """Labels batches of images. A process has one of them, which several threads call at the same time."""

    @property
    def device(self) -> Device:
        """What it computes on, and in which precision."""

    @property
    def side_px(self) -> int:
        """Side of its square input."""

    @property
    def num_classes(self) -> int:
        """The number of logits."""

    @property
    def description(self) -> ModelDescription:
        """The model, for people."""

    def predict(self, pixels: np.ndarray, labels: Labels) -> Predictions:
        """Labels a batch.

        Args:
          pixels: (n, side, side, 3) uint8 RGB, n at least 1.
          labels: n class indices, the images' own; None where there is none.

        Returns:
          n predictions of `cam.top_k` classes, and one more where `cam.include_label` asks for it.

        Raises:
          Exception: of any type: the batch can't be labelled. The caller finds the images that are the cause.
        """
