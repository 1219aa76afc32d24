"""Loading classifiers: the demo, ImageNet's ResNet-50, .keras files and SavedModels, as features and a linear head."""

import contextlib
import hashlib
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from transforms.cam.settings import CamSettings
from transforms.errors import UserError
from transforms.model import demo as demo_model
from transforms.model.settings import ModelSettings
from transforms.store import files as store

if TYPE_CHECKING:
    from transforms.cam.grad_cam import GradientHead
    from transforms.cam.head import Head

DEFAULT_SIDE_PX = 224  # of a model that takes any size
BUILT_IN = ("demo", "imagenet")
_IMAGENET_WEIGHTS = "resnet50_weights_tf_dim_ordering_tf_kernels.h5"  # in Keras' own cache, as is
_IMAGENET_NAMES = "imagenet_class_index.json"


class ModelError(UserError):
    """A model can't be used; the message says why and what to do."""


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
    head: "Head | GradientHead"
    features: Callable[[str], Callable[[Any], list[Any]]]
    outputs: Callable[[Any], Any]
    map_step: int = 1
    float32_only: bool = False


def load(settings: ModelSettings, cam: CamSettings) -> Classifier:
    """Loads a classifier.

    Raises:
      ModelError: there is no such model, it has no head to read class maps from, it can't have the resolution, or it
        can't be told how to preprocess images for it.
    """
    source, preprocess = settings.source, settings.preprocess
    try:
        if source == "demo":
            return _from_keras(demo_model.load(), "caffe" if preprocess == "auto" else preprocess, cam)
        if source == "imagenet":
            return _from_keras(load_imagenet(), "caffe" if preprocess == "auto" else preprocess, cam)
        if source.endswith(".keras"):
            return _from_keras(_load_keras(source), preprocess, cam)
        if store.exists(store.join(source, "saved_model.pb")):
            from transforms.model import saved_model

            if (cam.method, cam.resolution, cam.refine) != ("cam", 7, "none"):
                raise ModelError(
                    f"{source}: a SavedModel runs as it was saved, so that cam.method=grad-cam, cam.resolution=14 and "
                    "cam.refine=affinity need a .keras file"
                )
            return saved_model.load(source, preprocess)
    except ModelError:
        raise
    except UserError as error:  # a head that is missing, a graph that can't be walked
        raise ModelError(f"{source}: {error}") from error
    raise ModelError(
        f"no model at {source!r}: expected demo, imagenet, the path of a .keras file, or a folder with saved_model.pb"
    )


def fingerprint(source: str) -> str:
    """Returns a hash of a model's content; two models that give other rows have other hashes.

    Raises:
      ModelError: there is no such model.
    """
    digest = hashlib.sha256()
    for path in files(source):
        with store.open_read(path) as file:
            while block := file.read(1 << 20):
                digest.update(block)
    return digest.hexdigest()[:16]


def files(source: str) -> list[str]:
    """Returns the paths of the files that a model consists of.

    Raises:
      ModelError: there are none.
    """
    if source == "demo":
        return [str(demo_model.WEIGHTS_PATH)]
    if source == "imagenet":
        return [_imagenet_weights()]
    if source.endswith(".keras"):
        paths = [source] if store.is_file(source) else []
    else:
        paths = [metadata.path for metadata in store.files_below(source)]
    if not paths:
        raise ModelError(f"no model at {source!r}")
    return paths


def _imagenet_weights() -> str:
    """Returns the path at which Keras keeps the weights, which KERAS_HOME can change."""
    from keras.src.backend.config import keras_home

    return os.path.join(keras_home(), "models", _IMAGENET_WEIGHTS)


@contextlib.contextmanager
def local_copy(source: str) -> Iterator[str]:
    """Yields a model's path, or that of a copy to load it from: neither Keras nor TensorFlow reads from every store."""
    if store.is_local(source):
        yield source
        return
    with tempfile.TemporaryDirectory(prefix="cambeam-") as folder:
        local = os.path.join(folder, os.path.basename(source.rstrip("/")))
        for path in files(source):
            copy = os.path.normpath(os.path.join(local, path.removeprefix(source).strip("/")))
            os.makedirs(os.path.dirname(copy), exist_ok=True)
            with store.open_read(path) as file, open(copy, "wb") as written:
                shutil.copyfileobj(file, written)
        yield local


def class_names(source: str, path: str | None, num_classes: int) -> list[str]:
    """Returns the names of a model's classes: from a file of one name per line, or the model's own.

    Raises:
      ModelError: the file does not have one line per class.
    """
    if path is None:
        return list(demo_model.CLASS_NAMES) if source == "demo" else _default_names(source, num_classes)
    try:
        names = store.read_bytes(path).decode().splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ModelError(f"can't read the class names in {path!r}: {error}") from error
    if len(names) != num_classes:
        raise ModelError(f"{path} names {len(names)} classes, but the model has {num_classes}")
    return names


def _default_names(source: str, num_classes: int) -> list[str]:
    if source == "imagenet":
        from keras.applications import imagenet_utils

        try:
            decoded = imagenet_utils.decode_predictions(np.arange(1000, 0, -1, dtype=np.float32)[None], top=1000)[0]
        except Exception as error:
            raise ModelError(_not_fetched("class names", error)) from error
        return [name for _, name, _ in decoded]
    return [f"class_{index}" for index in range(num_classes)]


def load_imagenet():
    """Returns Keras' ResNet-50 with ImageNet weights, which Keras downloads and caches.

    Raises:
      ModelError: it can't be downloaded, and is not there.
    """
    import keras

    try:
        return keras.applications.ResNet50(weights="imagenet", classifier_activation=None)
    except Exception as error:  # the download fails in as many ways as networks do
        raise ModelError(_not_fetched("weights", error)) from error


def _not_fetched(what: str, error: Exception) -> str:
    return (
        f"the ImageNet {what} could not be fetched ({error}). Without a network, put Keras' files {_IMAGENET_WEIGHTS} "
        f"and {_IMAGENET_NAMES} into {os.path.dirname(_imagenet_weights())}, or pass your own model with "
        "--model PATH.keras"
    )


def _load_keras(source: str):
    import keras

    if not store.exists(source):
        raise ModelError(f"no model file at {source!r}")
    with local_copy(source) as path:
        try:
            return keras.saving.load_model(path, compile=False, safe_mode=True)
        except Exception as error:  # a damaged archive, code that safe mode refuses, a layer that is not Keras' own
            raise ModelError(f"{source} can't be loaded as a Keras model: {error}") from error


def _from_keras(model, preprocess_kind: str, cam: CamSettings) -> Classifier:
    from transforms.cam import affinity, grad_cam, head
    from transforms.graph import dilation, fold, layers
    from transforms.model import preprocess

    graph = layers.flatten(model)
    found = grad_cam.find_head(graph) if cam.method == "grad-cam" else head.find_head(graph)
    if preprocess_kind == "auto":
        preprocess_kind = preprocess.guess(model.name, [call.kind for call in graph.calls])
    feature_graph = graph.until(found.features)
    changes = dilation.remove_last_stride(feature_graph) if cam.resolution == 14 else dilation.Dilation()
    values = [found.features, affinity.find_stage(feature_graph)] if cam.refine == "affinity" else [found.features]
    return Classifier(
        name=model.name,
        side_px=side_px(model.inputs[0].shape),
        preprocess=preprocess_kind,
        head=found,
        features=lambda dtype: fold.fold_values(feature_graph, values, dtype, changes),
        outputs=lambda images: model(images, training=False),
        map_step=2 if cam.resolution == 14 else 1,
    )


def side_px(shape) -> int:
    """Returns the side of a model's square input of shape (n, h, w, 3)."""
    if len(shape) != 4 or shape[3] != 3:
        raise ModelError(f"the model's input has shape {tuple(shape)}, expected (n, height, width, 3)")
    height, width = shape[1] or DEFAULT_SIDE_PX, shape[2] or DEFAULT_SIDE_PX
    if height != width:
        raise ModelError(f"the model's input is {width}x{height}, expected a square")
    return height
