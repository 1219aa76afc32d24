"""The head of classifiers in which a chain of layers of any kind leads from the last feature maps to the logits."""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from transforms.cam.head import PASSED_OVER, NoHeadError, activation
from transforms.cam.method import Tensor
from transforms.graph.layers import Call, LayerGraph


class ChainHead(NamedTuple):
    """The layers between the last feature maps and the logits; for its attributes see `method.Head`."""

    features: int
    logits: Callable[[Tensor], Tensor]
    num_classes: int
    softmax: bool
    description: str

    def gradients(self, features: Tensor, class_index: Tensor) -> list[Tensor]:
        """Returns, for each of (n, k) classes, the (n, h, w, channels) gradients of its logit."""
        import tensorflow as tf

        with tf.GradientTape(persistent=True) as tape:
            tape.watch(features)
            chosen = tf.unstack(tf.gather(self.logits(features), class_index, axis=1, batch_dims=1), axis=1)
        return [tape.gradient(logit, features) for logit in chosen]


def find_chain_head(graph: LayerGraph) -> ChainHead:
    """Walks back from the logits to the last activation of the convolutions; pooling belongs to the head.

    Raises:
      NoHeadError: the model does not end in logits or softmax, or its head is not a chain of layers.
    """
    from transforms.graph.fold import fold

    graph, softmax = _without_softmax(graph.until(graph.output))
    path: list[Call] = []
    value = graph.output
    while (call := graph.producer(value)) is None or not _is_feature_map(call):
        if call is None or len(call.inputs) != 1:
            names = " <- ".join(step.layer.name for step in [*path, *([call] if call else [])])
            raise NoHeadError(f"gradients need feature maps and a chain of layers from them to logits, found {names}")
        path.append(call)
        value = call.inputs[0]
    names = " <- ".join(step.layer.name for step in [*path, call])
    head = LayerGraph(path[::-1], value, graph.output)
    num_classes = int(path[0].shape[-1] or 0)
    return ChainHead(value, fold(head), num_classes, softmax, f"gradients through {names}")


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
        raise NoHeadError(f"gradients need a model of logits or softmax; this one ends in {last.layer.name} ({name})")
    if name == "linear":
        return LayerGraph([*calls, last], graph.input, last.outputs[0]), False
    if last.kind in ("Softmax", "Activation"):
        return LayerGraph(calls, graph.input, last.inputs[0]), True
    return LayerGraph([*calls, last._replace(layer=_linear_twin(last.layer))], graph.input, last.outputs[0]), True


def _linear_twin(layer: Any) -> Any:
    """Returns a dense or convolutional layer of the same weights and no activation."""
    twin = type(layer).from_config({**layer.get_config(), "activation": None})
    twin.build(layer.input.shape)
    twin.set_weights([np.asarray(weight) for weight in layer.weights])
    return twin
