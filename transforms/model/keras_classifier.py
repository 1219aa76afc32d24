"""Keras models as features and a head."""

from collections.abc import Callable

import keras
import tensorflow as tf

from transforms.cam import affinity
from transforms.cam.method import Features
from transforms.cam.methods import METHODS
from transforms.cam.settings import CamSettings
from transforms.graph import dilation, layers
from transforms.graph.fold import fold_values
from transforms.model import preprocess
from transforms.model.classifier import Classifier, square_side_px


def classifier_of(model: keras.Model, preprocess_kind: str, cam: CamSettings) -> Classifier:
    """Splits a Keras model.

    Args:
      preprocess_kind: as in `ModelSettings`; with "auto" the model tells.

    Raises:
      UserError: its layers can't be listed, it has no head to read maps from, it can't have the resolution or the
        refinement that is asked for, or it does not tell how images are preprocessed.
    """
    graph = layers.flatten(model)
    method = METHODS[cam.method](graph, cam.weights)
    if preprocess_kind == "auto":
        preprocess_kind = preprocess.guess(model.name, [call.kind for call in graph.calls])
    return Classifier(
        name=model.name,
        side_px=square_side_px(model.inputs[0].shape),
        preprocess=preprocess_kind,
        method=method,
        features=_features(graph.until(method.head.features), cam),
        outputs=lambda images: model(images, training=False),
    )


def _features(graph: layers.LayerGraph, cam: CamSettings) -> Callable[[str], Callable[[tf.Tensor], Features]]:
    """Returns what makes the features in a dtype; `graph` ends in what the head takes."""
    step, changes = 1, dilation.Dilation()
    if cam.resolution == 14:
        step, changes = 2, dilation.remove_last_stride(graph)
    values = [graph.output, affinity.find_stage(graph)] if cam.refine == "affinity" else [graph.output]

    def of_dtype(dtype: str) -> Callable[[tf.Tensor], Features]:
        folded = fold_values(graph, values, dtype, changes)

        def run(images: tf.Tensor) -> Features:
            dense, *stage = (tf.cast(value, tf.float32) for value in folded(images))
            return Features(images, dense, dense[:, ::step, ::step], *stage)

        return run

    return of_dtype
