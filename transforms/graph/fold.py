"""Keras layers as the TensorFlow operations that run fastest: batch norm folded away, biases and residuals fusible.

oneDNN fuses a convolution with what follows it only where the graph says BiasAdd, Relu and AddN; Keras says Mul and
AddV2. So convolutions, batch norms, activations and sums are rewritten here, with their weights as constants of the
type that is computed in; every other layer runs as Keras has it.
"""

import inspect
from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf

from transforms.graph.dilation import Dilation, is_plain_convolution
from transforms.graph.layers import Call, LayerGraph

_NO_DILATION = Dilation()
# called directly, since the __call__ of a layer casts to the type of the layer
_ANY_DTYPE = (
    *("AveragePooling2D", "GlobalAveragePooling2D", "MaxPooling2D", "ZeroPadding2D", "Cropping2D"),
    *("Concatenate", "Multiply", "Reshape"),
)


def fold(
    graph: LayerGraph, dtype: str = "float32", dilation: Dilation = _NO_DILATION
) -> Callable[[tf.Tensor], tf.Tensor]:
    """Returns a function from the graph's input to its output, to be traced inside a `tf.function`.

    Args:
      graph: the calls to make, and no others.
      dtype: of the convolutions and of what follows them: "float32", "bfloat16" or "float16".
      dilation: convolutions to run in another way than their layers say.

    Returns:
      A function from a (n, h, w, channels) float32 tensor to the output, in `dtype` or float32.
    """
    folded = fold_values(graph, [graph.output], dtype, dilation)
    return lambda images: folded(images)[0]


def fold_values(
    graph: LayerGraph, values: list[int], dtype: str = "float32", dilation: Dilation = _NO_DILATION
) -> Callable[[tf.Tensor], list[tf.Tensor]]:
    """As `fold`, for several values of the graph, by their numbers."""
    folded = _Folded(graph, values, tf.as_dtype(dtype), dilation)
    return folded.run


class _Folded:
    """A graph with, for each call, what is folded into it."""

    def __init__(self, graph: LayerGraph, wanted: list[int], dtype: tf.DType, dilation: Dilation):
        self.graph, self.wanted, self.dtype, self.dilation = graph, wanted, dtype, dilation
        self.norms: dict[int, Call] = {}  # by the number of the convolution's output
        self.paddings: dict[int, Call] = {}  # by the number of the padding's output
        for call in graph.calls:
            if is_plain_convolution(call):
                self._find_norm(call)
                if call.kind == "Conv2D":  # oneDNN aborts on a depthwise one with explicit padding and a bias
                    self._find_padding(call)

    def _find_norm(self, call: Call) -> None:
        following = self.graph.consumers(call.outputs[0])
        if call.outputs[0] in self.wanted or len(following) != 1 or not _is_linear(call.layer):
            return
        norm = following[0]
        if norm.kind == "BatchNormalization" and norm.layer.axis in (-1, 3):
            self.norms[call.outputs[0]] = norm

    def _find_padding(self, call: Call) -> None:
        padding = self.graph.producer(call.inputs[0])
        if padding is None or padding.kind != "ZeroPadding2D" or call.layer.padding != "valid":
            return
        if padding.layer.data_format == "channels_last" and len(self.graph.consumers(padding.outputs[0])) == 1:
            self.paddings[padding.outputs[0]] = padding

    def run(self, images: tf.Tensor) -> list[tf.Tensor]:
        values = {self.graph.input: images}
        folded_norms = {norm.outputs[0]: convolved for convolved, norm in self.norms.items()}
        for call in self.graph.calls:
            out = call.outputs[0]
            if out in self.paddings:
                values[out] = values[call.inputs[0]]  # the convolution that follows pads
            elif out in folded_norms:
                values[out] = values[folded_norms[out]]
            else:
                for number, value in zip(call.outputs, tf.nest.flatten(self._evaluate(call, values)), strict=True):
                    values[number] = value
        return [values[number] for number in self.wanted]

    def _evaluate(self, call: Call, values: dict[int, tf.Tensor]) -> Any:
        layer, x = call.layer, values[call.inputs[0]]
        if is_plain_convolution(call):
            return self._convolve(call, x)
        if call.kind == "BatchNormalization" and layer.axis in (-1, 3):
            scale, shift = _affine(layer)
            return x * self._constant(scale, x.dtype) + self._constant(shift, x.dtype)
        if call.kind == "Add":
            return _add([values[number] for number in call.inputs])
        if call.kind in ("Activation", "ReLU"):
            return _activate(layer, x)
        args, kwargs = call.fill_in(values)
        if "training" in inspect.signature(layer.call).parameters:
            kwargs["training"] = False  # augmentation layers would else be active
        return layer.call(*args, **kwargs) if call.kind in _ANY_DTYPE else layer(*args, **kwargs)

    def _convolve(self, call: Call, x: tf.Tensor) -> tf.Tensor:
        layer, out = call.layer, call.outputs[0]
        kernel = _numpy(layer.kernel)
        bias = _numpy(layer.bias) if layer.use_bias else None
        if out in self.norms:
            scale, shift = _affine(self.norms[out].layer)
            bias = shift if bias is None else shift + bias * scale
            kernel = kernel * (scale if call.kind == "Conv2D" else scale.reshape(kernel.shape[2:]))
        strides, dilation, padding = self._sampling(call, x)
        x, kernel = tf.cast(x, self.dtype), self._constant(kernel, self.dtype)
        if call.kind == "Conv2D":
            y = tf.nn.conv2d(x, kernel, strides, padding, dilations=dilation)
        else:
            if not isinstance(padding, str):  # oneDNN aborts on explicit padding and a bias here
                x, padding = tf.pad(x, padding), "VALID"
            y = tf.nn.depthwise_conv2d(x, kernel, [1, *strides, 1], padding, dilations=dilation)
        if bias is not None:
            y = tf.nn.bias_add(y, self._constant(bias, self.dtype))
        return _activate(layer, y)

    def _sampling(self, call: Call, x: tf.Tensor) -> tuple[Any, Any, Any]:
        """Returns the strides, dilation and padding of a convolution: as `dilation` says, or else the layer."""
        layer, out = call.layer, call.outputs[0]
        strides, dilation = layer.strides, layer.dilation_rate
        folded = self.paddings.get(call.inputs[0])
        changed = out in self.dilation.unstrided or out in self.dilation.dilated
        if not (folded or changed):
            return strides, dilation, layer.padding.upper()
        padding = folded.layer.padding if folded else _padding(layer, x.shape[1:3])
        if out in self.dilation.unstrided:
            padding = [_padding_for_all(x.shape[1 + i], layer.kernel_size[i], padding[i]) for i in range(2)]
            strides = (1, 1)
        elif out in self.dilation.dilated:
            padding = [(2 * before, 2 * after) for before, after in padding]
            dilation = [2 * rate for rate in dilation]
        return strides, dilation, [[0, 0], *map(list, padding), [0, 0]]

    def _constant(self, values: np.ndarray, dtype: tf.DType) -> tf.Tensor:
        # made inside the trace: one captured from outside would become an input, and nothing would be folded into it
        return tf.constant(values.astype(dtype.as_numpy_dtype))


def _numpy(variable: Any) -> np.ndarray:
    with tf.init_scope():  # outside of the trace, in which variables have no values
        return np.asarray(variable, np.float32)


def _padding(layer: Any, sides: tuple[int, ...]) -> list[tuple[int, int]]:
    """Returns what a convolution pads on each axis of an input, (before, after); TensorFlow's rule for "same"."""
    pairs = []
    for side, kernel, stride, rate in zip(sides, layer.kernel_size, layer.strides, layer.dilation_rate, strict=True):
        extent = (kernel - 1) * rate + 1
        total = max((-(-side // stride) - 1) * stride + extent - side, 0) if layer.padding == "same" else 0
        pairs.append((total // 2, total - total // 2))
    return pairs


def _padding_for_all(side: int, kernel: int, padding: tuple[int, int]) -> tuple[int, int]:
    """Returns the padding with which a kernel of stride 1 gives exactly twice the outputs that it gave with stride 2.

    What lies before stays, so that the old outputs are the even ones of the new.
    """
    before, after = padding
    outputs = 2 * ((before + side + after - kernel) // 2 + 1)
    return before, outputs + kernel - 1 - before - side


def _is_linear(layer: Any) -> bool:
    return getattr(layer.activation, "__name__", "linear") == "linear"


def _affine(norm: Any) -> tuple[np.ndarray, np.ndarray]:
    """Returns the (channels,) scale and shift that a batch norm applies at inference."""
    mean, variance = _numpy(norm.moving_mean), _numpy(norm.moving_variance)
    scale = 1 / np.sqrt(variance + norm.epsilon)
    if norm.scale:
        scale = scale * _numpy(norm.gamma)
    shift = -mean * scale
    if norm.center:
        shift = shift + _numpy(norm.beta)
    return scale, shift


def _add(terms: list[tf.Tensor]) -> tf.Tensor:
    """Sums tensors in the narrowest of their types; AddN, because only that fuses with a dynamic batch."""
    dtype = min((term.dtype for term in terms), key=lambda dtype: dtype.size)
    terms = [tf.cast(term, dtype) for term in terms]
    same_shape = all(term.shape[1:] == terms[0].shape[1:] for term in terms)
    return tf.add_n(terms) if same_shape else sum(terms[1:], terms[0])


def _activate(layer: Any, x: tf.Tensor) -> tf.Tensor:
    if type(layer).__name__ == "ReLU":
        if layer.negative_slope or layer.threshold:
            return layer.call(x)
        return tf.nn.relu(x) if layer.max_value is None else tf.nn.relu6(x) if layer.max_value == 6 else layer.call(x)
    if _is_linear(layer):
        return x
    return tf.nn.relu(x) if layer.activation.__name__ == "relu" else layer.activation(x)
