"""What is computed of a batch of images: scores, the most probable classes and their maps, in TensorFlow operations."""

from collections.abc import Callable
from typing import NamedTuple

import tensorflow as tf

from transforms.cam.affinity import propagate
from transforms.cam.method import CamMethod, Features
from transforms.model.classifier import Classifier
from transforms.model.preprocess import preprocess
from transforms.predict.engine_settings import EngineSettings


def infer(
    classifier: Classifier,
    features_of: Callable[[tf.Tensor], Features],
    settings: EngineSettings,
    images: tf.Tensor,
    labels: tf.Tensor,
    labelled: tf.Tensor,
) -> dict[str, tf.Tensor]:
    """Labels a batch.

    Args:
      features_of: one of the classifier's, of the precision to be used.
      images: (n, side, side, 3) uint8 RGB.
      labels: (n,) int32, the images' own.
      labelled: (n,) bool, whether an image has one.

    Returns:
      The fields of `Predictions`, those of them that are asked for.
    """
    cam, method = settings.cam, classifier.method
    inputs = preprocess(tf.cast(images, tf.float32), classifier.preprocess)
    features, *mirrored = _with_mirrored(features_of, inputs) if cam.flip else [features_of(inputs)]
    logits = method.head.logits(features.coarse)
    classes = _top_classes(logits, min(cam.top_k, method.head.num_classes))
    if cam.include_label:
        classes = _with_label(classes, logits, labels, labelled)
    cams, *turned = (_maps(method, part, classes.class_index) for part in (features, *mirrored))
    probability = tf.exp(classes.logit - tf.reduce_logsumexp(logits, axis=1, keepdims=True))
    result = classes._asdict() | {"probability": probability, "cams": cams}
    if cam.flip:
        back = turned[0][..., ::-1]
        result |= {"cams": (cams + back) / 2, "mirror_pair": tf.stack([cams[:, 0], back[:, 0]], axis=1)}
    if settings.logits:
        result["logits"] = logits
    if settings.embeddings:
        result["embedding"] = tf.reduce_mean(features.coarse, axis=(1, 2))
    if settings.activations:
        result["activations"] = features.coarse
    return result


class _Classes(NamedTuple):
    """(n, k) classes: fields of `Predictions`."""

    class_index: tf.Tensor
    logit: tf.Tensor
    rank: tf.Tensor
    present: tf.Tensor


def _with_mirrored(features_of: Callable[[tf.Tensor], Features], inputs: tf.Tensor) -> list[Features]:
    """Returns the features of images and those of their mirror images, computed together."""
    both = features_of(tf.concat([inputs, inputs[:, :, ::-1]], axis=0))
    halves = [(None, None) if value is None else tf.split(value, 2) for value in both]
    return [Features(*half) for half in zip(*halves, strict=True)]


def _maps(method: CamMethod, features: Features, class_index: tf.Tensor) -> tf.Tensor:
    cams = method.maps(features, class_index)
    return cams if features.stage is None else propagate(cams, features.stage)


def _top_classes(logits: tf.Tensor, count: int) -> _Classes:
    logit, class_index = tf.math.top_k(logits, count)
    rank = tf.zeros_like(class_index) + tf.range(class_index.shape[1])
    return _Classes(class_index, logit, rank, tf.ones_like(class_index, tf.bool))


def _with_label(classes: _Classes, logits: tf.Tensor, labels: tf.Tensor, labelled: tf.Tensor) -> _Classes:
    """Adds each image's own label as one more class, present where there is one and it is not among the others."""
    known = labelled & (labels >= 0) & (labels < logits.shape[1])
    label = tf.where(known, labels, 0)[:, None]
    logit = tf.gather(logits, label, batch_dims=1)
    rank = tf.reduce_sum(tf.cast(logits > logit, tf.int32), axis=1, keepdims=True)
    rank = tf.maximum(rank, classes.class_index.shape[1])  # of equal logits, the top classes come first
    present = known[:, None] & tf.reduce_all(classes.class_index != label, axis=1, keepdims=True)
    added = _Classes(label, logit, rank, present)
    return _Classes(*(tf.concat(pair, axis=1) for pair in zip(classes, added, strict=True)))
