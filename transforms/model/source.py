"""The interface of the sources that models come from."""

import abc
import hashlib
from collections.abc import Callable
from typing import ClassVar

from transforms.cam.settings import CamSettings
from transforms.errors import UserError
from transforms.model.classifier import Classifier
from transforms.store import files as store


class ModelError(UserError):
    """A model can't be used; the message says why and what to do."""


class ModelSource(abc.ABC):
    """A place that a model comes from. What a kind does not override suits a model that every machine has.

    Attributes:
      form: how `model.source` names sources of this kind, for people.
      location: what `model.source` says of this one; of a local path, the absolute one.
    """

    form: ClassVar[str]

    def __init__(self, location: str):
        self.location = location

    @classmethod
    @abc.abstractmethod
    def recognizes(cls, location: str) -> bool:
        """Tells whether `model.source` names a source of this kind."""

    @abc.abstractmethod
    def files(self) -> list[str]:
        """Returns the paths of the files that the model consists of.

        Raises:
          ModelError: there are none.
        """

    @abc.abstractmethod
    def load(self, preprocess: str, cam: CamSettings) -> Classifier:
        """Loads the model for TensorFlow.

        Args:
          preprocess: as in `ModelSettings`; with "auto" the source or the model tells.
          cam: which maps are made.

        Raises:
          UserError: it can't be loaded, or does not have what these maps need.
        """

    def class_names(self, num_classes: int) -> list[str]:
        """Returns the names that the model itself has for its classes."""
        return [f"class_{index}" for index in range(num_classes)]

    def stage(self, folder: str, copy: Callable[[str, str], None]) -> str:
        """Copies the model into a folder that every worker can read, unless every worker has it.

        Args:
          folder: for this model alone.
          copy: copies a local file to a path; does nothing where that is there already.

        Returns:
          The location at which workers find the model.
        """
        return self.location

    def fingerprint(self) -> str:
        """Returns a hash of the model's files; models that give different rows have different hashes."""
        digest = hashlib.sha256()
        for path in self.files():
            with store.open_read(path) as file:
                while block := file.read(1 << 20):
                    digest.update(block)
        return digest.hexdigest()[:16]
