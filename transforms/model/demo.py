"""The built-in demo model: a trained ResNet-50 of one eighth the width, padded with zeros to the full ResNet-50."""

import pathlib
from typing import Any

import numpy as np

from transforms.cam.settings import CamSettings
from transforms.model.classifier import Classifier
from transforms.model.source import ModelSource

CLASS_NAMES = ("circle", "square", "triangle", "star", "cross", "ring", "crescent", "arrow")
WEIGHTS_PATH = pathlib.Path(__file__).with_name("demo_resnet50.npz")
_WIDTH_DIVISOR = 8


class Demo(ModelSource):
    """The built-in demo model."""

    form = "demo"

    @classmethod
    def recognizes(cls, location: str) -> bool:
        return location == cls.form

    def files(self) -> list[str]:
        return [str(WEIGHTS_PATH)]

    def load(self, preprocess: str, cam: CamSettings) -> Classifier:
        from transforms.model.keras_classifier import classifier_of

        return classifier_of(load(), "caffe" if preprocess == "auto" else preprocess, cam)

    def class_names(self, num_classes: int) -> list[str]:
        return list(CLASS_NAMES)


def narrow_resnet50(num_classes: int) -> Any:
    """Builds the untrained Keras model: ResNet-50's very graph with an eighth of the filters; its output is logits."""
    import keras

    def narrow(layer: Any) -> Any:
        config = layer.get_config()
        if isinstance(layer, keras.layers.Conv2D):
            config["filters"] //= _WIDTH_DIVISOR
        return layer.__class__.from_config(config)

    return keras.models.clone_model(_full_resnet50(num_classes), clone_function=narrow)


def _full_resnet50(num_classes: int) -> Any:
    import keras

    return keras.applications.ResNet50(weights=None, classes=num_classes, classifier_activation=None)


def save(narrow_model: Any, path: str | pathlib.Path) -> None:
    """Writes the weights of a narrow model: kernels as float16, vectors (whose variances can be large) as float32."""
    arrays = {
        f"{layer.name}/{index}": weight.astype(np.float16 if weight.ndim > 1 else np.float32)
        for layer in narrow_model.layers
        for index, weight in enumerate(layer.get_weights())
    }
    np.savez_compressed(path, **arrays)


def load() -> Any:
    """Returns the trained demo model as a full-width Keras ResNet-50 of eight classes.

    Channels that the narrow network lacks are zero all the way through: their kernels, biases, scales and shifts are
    zero and their variance is one, so the padded model computes what the narrow one does.
    """
    with np.load(WEIGHTS_PATH) as stored:
        arrays = {name: stored[name].astype(np.float32) for name in stored.files}
    model = _full_resnet50(len(arrays["predictions/1"]))
    for layer in model.layers:
        layer.set_weights([_pad(arrays[f"{layer.name}/{index}"], weight) for index, weight in enumerate(layer.weights)])
    return model


def _pad(narrow: np.ndarray, weight: Any) -> np.ndarray:
    filler = 1.0 if weight.name == "moving_variance" else 0.0
    padding = [(0, full - part) for full, part in zip(weight.shape, narrow.shape, strict=True)]
    return np.pad(narrow, padding, constant_values=filler)
