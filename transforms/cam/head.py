"""The head that class activation maps need: global average pooling and one linear layer (Zhou et al. 2016, 2)."""

from typing import Any, NamedTuple

import numpy as np

from transforms.cam.method import Tensor
from transforms.errors import UserError
from transforms.graph.layers import Call, LayerGraph

PASSED_OVER = ("Dropout", "SpatialDropout2D", "Flatten", "Reshape", "Identity", "ActivityRegularization")


class NoHeadError(UserError):
    """The model has no head that class activation maps can be read from."""


class PooledHead(NamedTuple):
    """The linear head over pooled features: logits = mean over (h, w) of the features @ weights + bias.

    Attributes:
      features: the (n, h, w, channels) value that is pooled, as its graph knows it: by number, or a tensor by name.
      weights: (channels, classes) float32.
      bias: (classes,) float32.
      softmax: the model's own output is probabilities, not logits.
      description: the layers, for people.
    """

    features: Any
    weights: np.ndarray
    bias: np.ndarray
    softmax: bool
    description: str

    @property
    def num_classes(self) -> int:
        """The number of logits."""
        return len(self.bias)

    def logits(self, features: Tensor) -> Tensor:
        """(n, h, w, channels) features -> (n, classes)."""
        import tensorflow as tf

        return tf.reduce_mean(features, axis=(1, 2)) @ self.weights + self.bias


def find_pooled_head(graph: LayerGraph) -> PooledHead:
    """Walks back from the output: [softmax], dense or 1x1 convolution, pooling; or pooling over class maps.

    The latter is the head of Network in Network (Lin et al. 2014): its maps are the class maps already, so that the
    weights are the identity.

    Raises:
      NoHeadError: the model ends otherwise; the message lists the layers found.
    """
    path: list[Call] = []
    value, softmax, linear = graph.output, False, None
    while (call := graph.producer(value)) is not None:
        path.append(call)
        if _is_pooling(call):
            channels = call.layer.input.shape[-1] if linear is None else len(linear[0])
            weights, bias = linear or (np.eye(channels, dtype=np.float32), np.zeros(channels, np.float32))
            names = " <- ".join(step.layer.name for step in path)
            return PooledHead(call.inputs[0], weights, bias, softmax, names)
        if linear is None and (found := _linear(call)) is not None:
            linear = found
            softmax |= activation(call) == "softmax"
        elif linear is None and (call.kind == "Softmax" or activation(call) == "softmax"):
            softmax = True
        elif call.kind not in PASSED_OVER and (call.kind != "Activation" or activation(call) != "linear"):
            break
        if len(call.inputs) != 1:
            break
        value = call.inputs[0]
    layers = " <- ".join(f"{step.layer.name} ({step.kind})" for step in path[:6])
    raise NoHeadError(
        "class activation maps need a model that ends in global average pooling and one dense layer (or 1x1 "
        f"convolution) of logits or softmax; this one ends in {layers}: use --set cam.method=grad-cam"
    )


def _is_pooling(call: Call) -> bool:
    if call.kind == "GlobalAveragePooling2D":
        return call.layer.data_format == "channels_last"
    if call.kind == "ops.Mean":
        axis = call.layer.axis
        return axis is not None and sorted(a % 4 for a in np.atleast_1d(axis)) == [1, 2]
    return call.kind == "AveragePooling2D" and tuple(call.layer.pool_size) == tuple(call.layer.input.shape[1:3])


def _linear(call: Call) -> tuple[np.ndarray, np.ndarray] | None:
    """Returns (channels, classes) weights and (classes,) bias of a linear or softmax layer over pooled features."""
    layer = call.layer
    if call.kind not in ("Dense", "Conv2D") or activation(call) not in ("linear", "softmax"):
        return None
    weights = np.asarray(layer.kernel, np.float32)
    if call.kind == "Conv2D":
        on_pooled = layer.input.shape[1:3] == (1, 1)
        if not on_pooled or weights.shape[:2] != (1, 1) or layer.groups != 1:
            return None
        weights = weights[0, 0]
    bias = np.asarray(layer.bias, np.float32) if layer.use_bias else np.zeros(weights.shape[1], np.float32)
    return weights, bias


def activation(call: Call) -> str | None:
    """Returns the name of a layer's activation function; None for a layer that has none."""
    activation = getattr(call.layer, "activation", None)
    return getattr(activation, "__name__", None)
