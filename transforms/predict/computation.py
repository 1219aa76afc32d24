"""What is computed of a batch of images: scores, the most probable classes and their maps, in TensorFlow operations."""

from collections.abc import Callable

import tensorflow as tf

from transforms.cam.activation import class_activation_maps
from transforms.cam.affinity import propagate
from transforms.model.classifier import Classifier
from transforms.model.preprocess import preprocess
from transforms.predict.engine_settings import EngineSettings


def infer(
    classifier: Classifier,
    features: Callable[[tf.Tensor], list[tf.Tensor]],
    settings: EngineSettings,
    images: tf.Tensor,
    labels: tf.Tensor,
    labelled: tf.Tensor,
) -> dict[str, tf.Tensor]:
    """Labels a batch.

    Args:
      features: one of the classifier's, of the precision to be used.
      images: (n, side, side, 3) uint8 RGB.
      labels: (n,) int32, the images' own.
      labelled: (n,) bool, whether an image has one.

    Returns:
      The fields of `Predictions`, those of them that are asked for.
    """
    head, step, cam = classifier.head, classifier.map_step, settings.cam
    inputs = preprocess(images, classifier.preprocess)
    if cam.flip:
        inputs = tf.concat([inputs, inputs[:, :, ::-1]], axis=0)
    parts = 2 if cam.flip else 1
    of_parts = list(zip(*(tf.split(tf.cast(maps, tf.float32), parts) for maps in features(inputs)), strict=True))
    activations = of_parts[0][0][:, ::step, ::step]
    logits = head.logits(activations)
    logit, class_index = tf.math.top_k(logits, min(cam.top_k, head.num_classes))
    rank = tf.zeros_like(class_index) + tf.range(class_index.shape[1])
    present = tf.ones_like(class_index, tf.bool)
    if cam.include_label:
        class_index, logit, rank, present = _append_label(labels, labelled, logits, class_index, logit, rank, present)

    def class_maps(dense: tf.Tensor, *stages: tf.Tensor) -> tf.Tensor:
        weights = head.class_weights(dense[:, ::step, ::step], class_index)
        if cam.weights == "positive":
            weights = tf.nn.relu(weights)
        cams = tf.transpose(class_activation_maps(dense, weights), (0, 3, 1, 2))
        return propagate(cams, *stages) if stages else cams

    cams = class_maps(*of_parts[0])
    result = {
        "class_index": class_index,
        "probability": tf.exp(logit - tf.reduce_logsumexp(logits, axis=1, keepdims=True)),
        "logit": logit,
        "rank": rank,
        "present": present,
        "cams": cams,
    }
    if cam.flip:
        mirrored = class_maps(*of_parts[1])[..., ::-1]
        result |= {"cams": (cams + mirrored) / 2, "mirror_pair": tf.stack([cams[:, 0], mirrored[:, 0]], axis=1)}
    if settings.logits:
        result["logits"] = logits
    if settings.embeddings:
        result["embedding"] = tf.reduce_mean(activations, axis=(1, 2))
    if settings.activations:
        result["activations"] = activations
    return result


def _append_label(labels, labelled, logits, class_index, logit, rank, present):
    """Adds each image's own label as one more class, present where there is one and it is not among the others."""
    known = labelled & (labels >= 0) & (labels < logits.shape[1])
    label = tf.where(known, labels, 0)[:, None]
    label_logit = tf.gather(logits, label, batch_dims=1)
    label_rank = tf.reduce_sum(tf.cast(logits > label_logit, tf.int32), axis=1, keepdims=True)
    new = known[:, None] & tf.reduce_all(class_index != label, axis=1, keepdims=True)
    return (
        tf.concat([class_index, label], axis=1),
        tf.concat([logit, label_logit], axis=1),
        tf.concat([rank, tf.maximum(label_rank, class_index.shape[1])], axis=1),
        tf.concat([present, new], axis=1),
    )
