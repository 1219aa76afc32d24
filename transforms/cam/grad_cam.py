"""Grad-CAM, for classifiers without a pooled head (Selvaraju et al., Grad-CAM, ICCV 2017)."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from transforms.cam.head import PASSED_OVER, NoHeadError, activation
from transforms.graph.fold import fold
from transforms.graph.layers import Call, LayerGraph


class GradientHead(NamedTuple):
    """The layers between the last feature maps and the logits, whatever they are.

    Attributes:
      features: number of the (n, h, w, channels) value that the layers start from.
      logits: (n, h, w, channels) features -> (n, classes).
      num_classes: the number of logits.
      softmax: the model's own output is probabilities, not logits.
      description: the layers, for people.
    """

    features: int
    logits: Callable[[tf.Tensor], tf.Tensor]
    num_classes: int
    softmax: bool
    description: str

    def class_weights(self, activations: tf.Tensor, class_index: tf.Tensor) -> tf.Tensor:
        """Returns the (n, channels, k) weights of the feature maps in the maps of (n, k) classes (equation 1).

        A weight is the mean over (h, w) of the gradient of the class's logit. On a pooled head that is the class's own
        weight divided by h w, so that the maps equal class activation maps up to this factor. The ReLU of equation 2 is
        left out: maps are kept raw, and normalisation "max" begins with it.
        """
        with tf.GradientTape(persistent=True) as tape:
            tape.watch(activations)
            chosen = tf.unstack(tf.gather(self.logits(activations), class_index, axis=1, batch_dims=1), axis=1)
        return tf.stack([tf.reduce_mean(tape.gradient(logit, activations), axis=(1, 2)) for logit in chosen], axis=2)


def find_head(graph: LayerGraph) -> GradientHead:
    """Walks back from the logits to the last activation of the convolutions; pooling belongs to the head.

    Raises:
      NoHeadError: the model does not end in logits or softmax, or its head is not a chain of layers.
    """
    graph, softmax = _without_softmax(graph.until(graph.output))
    path: list[Call] = []
    value = graph.output
    while (call := graph.producer(value)) is None or not _is_feature_map(call):
        if call is None or len(call.inputs) != 1:
            names = " <- ".join(step.layer.name for step in [*path, *([call] if call else [])])
            raise NoHeadError(f"Grad-CAM needs feature maps and a chain of layers from them to logits, found {names}")
        path.append(call)
        value = call.inputs[0]
    names = " <- ".join(step.layer.name for step in [*path, call])
    head = LayerGraph(path[::-1], value, graph.output)
    num_classes = int(path[0].shape[-1] or 0)
    return GradientHead(value, fold(head), num_classes, softmax, f"gradients through {names}")


def _is_feature_map(call: Call) -> bool:
    """Tells whether a call makes an activation with height and width, and not a pooled or rearranged one."""
    rearranged = "Pooling" in call.kind or call.kind in PASSED_OVER
    return len(call.shape) == 4 and call.shape[1:3] != (1, 1) and not rearranged


def _without_softmax(graph: LayerGraph) -> tuple[LayerGraph, bool]:
    """Returns the graph up to its logits, and whether a softmax came after them. The last call makes the output.

    Raises:
      NoHeadError: the model ends in another activation.
    """
    calls = list(graph.calls)
    while calls[-1].kind in PASSED_OVER:
        calls.pop()
    last = calls.pop()
    name = "softmax" if last.kind == "Softmax" else activation(last)
    if name not in ("softmax", "linear"):
        raise NoHeadError(f"Grad-CAM needs a model of logits or softmax; this one ends in {last.layer.name} ({name})")
    if name == "linear":
        return LayerGraph([*calls, last], graph.input, last.outputs[0]), False
    if last.kind in ("Softmax", "Activation"):
        return LayerGraph(calls, graph.input, last.inputs[0]), True
    return LayerGraph([*calls, last._replace(layer=_linear_twin(last.layer))], graph.input, last.outputs[0]), True


def _linear_twin(layer):
    """Returns a dense or convolutional layer of the same weights and no activation."""
    twin = type(layer).from_config({**layer.get_config(), "activation": None})
    twin.build(layer.input.shape)
    twin.set_weights([np.asarray(weight) for weight in layer.weights])
    return twin
