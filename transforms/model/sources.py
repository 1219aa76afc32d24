"""The model that the settings name, found and loaded. A new kind of source is a module and a line here."""

from transforms.cam.settings import CamSettings
from transforms.errors import UserError
from transforms.model.classifier import Classifier
from transforms.model.demo import Demo
from transforms.model.imagenet import ImageNet
from transforms.model.keras_file import KerasFile
from transforms.model.saved_model import SavedModel
from transforms.model.settings import ModelSettings
from transforms.model.source import ModelError, ModelSource
from transforms.store import files as store

SOURCES: list[type[ModelSource]] = [Demo, ImageNet, KerasFile, SavedModel]


def find(location: str) -> ModelSource:
    """Returns the source that `model.source` names.

    Raises:
      ModelError: it names none.
    """
    for kind in SOURCES:
        if kind.recognizes(location):
            return kind(location)
    forms = [kind.form for kind in SOURCES]
    raise ModelError(f"no model at {location!r}: expected {', '.join(forms[:-1])} or {forms[-1]}")


def load(settings: ModelSettings, cam: CamSettings) -> Classifier:
    """Loads a model for TensorFlow.

    Raises:
      ModelError: there is no such model, it has no head to read class maps from, it can't have the maps that are asked
        for, or it is not known how to preprocess images for it.
    """
    source = find(settings.source)
    try:
        return source.load(settings.preprocess, cam)
    except ModelError:
        raise
    except UserError as error:  # a head that is missing, a graph that can't be walked
        raise ModelError(f"{source.location}: {error}") from error


def class_names(settings: ModelSettings, num_classes: int) -> list[str]:
    """Returns the names of a model's classes: those of the file that the settings name, or the model's own.

    Raises:
      ModelError: the file can't be read, or does not have one line per class.
    """
    path = settings.class_names
    if path is None:
        return find(settings.source).class_names(num_classes)
    try:
        text = store.read_bytes(path).decode("utf-8-sig")  # without a byte order mark
    except (OSError, UnicodeDecodeError) as error:
        raise ModelError(f"can't read the class names in {path!r}: {error}") from error
    names = text.removesuffix("\n").replace("\r\n", "\n").split("\n")
    for number, name in enumerate(names, start=1):
        if len(name.splitlines()) != 1 or not name.strip():
            raise ModelError(f"line {number} of the class names in {path!r} is blank, or holds another end of line")
    if len(names) != num_classes:
        raise ModelError(f"{path} names {len(names)} classes, but the model has {num_classes}")
    return names
