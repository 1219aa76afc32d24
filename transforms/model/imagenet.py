"""Keras' own ResNet-50 with ImageNet weights, which Keras downloads and caches."""

import os
import tempfile
from collections.abc import Callable
from typing import Any

import numpy as np

from transforms.cam.settings import CamSettings
from transforms.model.classifier import Classifier
from transforms.model.source import ModelError, ModelSource
from transforms.store import files as store

_WEIGHTS = "resnet50_weights_tf_dim_ordering_tf_kernels.h5"  # both in Keras' own cache, as they are
_NAMES = "imagenet_class_index.json"
_STAGED = "resnet50.keras"
_CLASSES = 1000


class ImageNet(ModelSource):
    """`keras.applications.ResNet50` with its ImageNet weights."""

    form = "imagenet"

    @classmethod
    def recognizes(cls, location: str) -> bool:
        return location == cls.form

    def files(self) -> list[str]:
        return [os.path.join(_cache_folder(), _WEIGHTS)]

    def load(self, preprocess: str, cam: CamSettings) -> Classifier:
        from transforms.model.keras_classifier import classifier_of

        return classifier_of(_keras_model(), "caffe" if preprocess == "auto" else preprocess, cam)

    def class_names(self, num_classes: int) -> list[str]:
        from keras.applications import imagenet_utils

        scores = np.arange(_CLASSES, 0, -1, dtype=np.float32)[None]
        try:
            (decoded,) = imagenet_utils.decode_predictions(scores, top=_CLASSES)
        except Exception as error:
            raise _not_fetched("class names", error) from error
        return [name for _, name, _ in decoded]

    def stage(self, folder: str, copy: Callable[[str, str], None]) -> str:
        place = store.join(folder, _STAGED)
        if not store.exists(place):
            with tempfile.TemporaryDirectory() as scratch:
                saved = os.path.join(scratch, _STAGED)
                _keras_model().save(saved)
                copy(saved, place)
        return place


def _keras_model() -> Any:
    import keras

    try:
        return keras.applications.ResNet50(weights="imagenet", classifier_activation=None)
    except Exception as error:  # the download fails in as many ways as networks do
        raise _not_fetched("weights", error) from error


def _cache_folder() -> str:
    """Returns the folder in which Keras keeps downloads, which KERAS_HOME can change."""
    from keras.src.backend.config import keras_home

    return os.path.join(keras_home(), "models")


def _not_fetched(what: str, error: Exception) -> ModelError:
    return ModelError(
        f"the ImageNet {what} could not be fetched ({error}). Without a network, put Keras' files {_WEIGHTS} and "
        f"{_NAMES} into {_cache_folder()}, or pass your own model with --model PATH.keras"
    )
