"""The graph of a SavedModel as features and a linear head. It runs as it was saved: nothing is folded."""

from typing import Any

import numpy as np
import tensorflow as tf
from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

from transforms.cam.activation import PlainCam
from transforms.cam.head import NoHeadError, PooledHead
from transforms.cam.method import Features, Weights
from transforms.errors import UserError
from transforms.model import preprocess
from transforms.model.classifier import Classifier, square_side_px

_PASSED_OVER = ("Identity", "Reshape", "Squeeze", "StopGradient")
_SUMS = ("Add", "AddV2", "BiasAdd")


def classifier_of(path: str, name: str, preprocess_kind: str, weights: Weights) -> Classifier:
    """Splits a SavedModel.

    Args:
      path: of its folder, on this machine.
      name: of the model.
      preprocess_kind: as in `ModelSettings`; with "auto" only the name can tell.
      weights: of its plain class activation maps.

    Raises:
      UserError: it can't be loaded, has no signature from images to classes or no pooled head, or the preprocessing is
        not known.
    """
    if preprocess_kind == "auto":
        preprocess_kind = preprocess.guess(name, [])
    function = _frozen(path)
    (images,), (output,) = function.inputs, function.outputs
    head = _find_head(function, output)
    to_features = function.prune([images], [function.graph.get_tensor_by_name(head.features)])
    to_output = function.prune([images], [output])

    def features(inputs: tf.Tensor) -> Features:
        (maps,) = to_features(inputs)
        return Features(inputs, maps, maps)

    return Classifier(
        name=name,
        side_px=square_side_px(images.shape),
        preprocess=preprocess_kind,
        method=PlainCam(head, weights),
        features=lambda dtype: features,
        outputs=lambda inputs: to_output(tf.convert_to_tensor(inputs))[0],
        float32_only=True,
    )


def _frozen(path: str) -> Any:
    """Returns the function that the model serves, its variables made constants."""
    try:
        loaded = tf.saved_model.load(path)
    except Exception as error:  # a damaged file, an operation that TensorFlow does not have
        raise UserError(f"it can't be loaded as a SavedModel: {error}") from error
    signatures = loaded.signatures
    name = "serving_default" if "serving_default" in signatures else next(iter(signatures), None)
    if name is None:
        raise UserError("the SavedModel has no signature; save the model with Keras' model.export()")
    function = convert_variables_to_constants_v2(signatures[name])
    if len(function.inputs) != 1 or len(function.outputs) != 1 or function.inputs[0].dtype != tf.float32:
        inputs = [f"{tensor.dtype.name}{tensor.shape}" for tensor in function.inputs]
        raise UserError(
            f"the signature {name!r} takes {', '.join(inputs)} and gives {len(function.outputs)} outputs, expected one "
            "batch of float32 images and one output"
        )
    if function.inputs[0].shape.rank == 4 and function.inputs[0].shape[0] is not None:
        raise UserError(f"the signature {name!r} takes batches of one size only")
    return function


def _find_head(function: Any, output: tf.Tensor) -> PooledHead:
    """Walks back from the output: [softmax], bias, matrix or 1x1 convolution, pooling; or pooling over class maps.

    Raises:
      NoHeadError: the graph ends otherwise; the message lists the operations found.
    """
    path: list[str] = []
    weights, bias, softmax = None, None, False
    tensor = output
    while True:
        operation = tensor.op
        if operation.type != "Identity":
            path.append(operation.type)
        constants = [_constant(function, value) for value in operation.inputs]
        if operation.type == "Mean" and constants[1] is not None and _is_spatial(constants[1]):
            features = operation.inputs[0]
            break
        if operation.type == "Softmax" and weights is None:
            softmax = True
        elif operation.type in _SUMS and weights is None and bias is None and _count(constants) == 1:
            bias = next(constant for constant in constants if constant is not None).reshape(-1)
        elif operation.type in ("MatMul", "Conv2D") and weights is None and constants[1] is not None:
            weights = _matrix(operation, constants[1])
        elif operation.type not in _PASSED_OVER:
            raise NoHeadError(
                "class activation maps need a model that ends in global average pooling and one dense layer (or 1x1 "
                f"convolution) of logits or softmax; this one ends in {' <- '.join(path)}"
            )
        tensor = operation.inputs[next(i for i, constant in enumerate(constants) if constant is None)]
    if weights is None:
        weights = np.eye(features.shape[-1], dtype=np.float32)
    if bias is None:
        bias = np.zeros(weights.shape[1], np.float32)
    return PooledHead(features.name, weights, bias, softmax, " <- ".join(path))


def _constant(function: Any, tensor: tf.Tensor) -> np.ndarray | None:
    """Returns the value of a tensor that does not depend on the images; None for others."""
    seen, waiting = set(), [tensor.op]
    while waiting:
        operation = waiting.pop()
        if operation.type == "Placeholder":
            return None
        if operation.name not in seen:
            seen.add(operation.name)
            waiting += [value.op for value in operation.inputs]
    return function.prune([], [tensor])()[0].numpy()


def _count(constants: list[np.ndarray | None]) -> int:
    return sum(constant is not None for constant in constants)


def _is_spatial(axes: np.ndarray) -> bool:
    return sorted(np.ravel(axes) % 4) == [1, 2]


def _matrix(operation: tf.Operation, weights: np.ndarray) -> np.ndarray:
    """Returns the (channels, classes) weights of a MatMul or of a 1x1 convolution over pooled features."""
    if operation.type == "MatMul":
        return weights.T if operation.get_attr("transpose_b") else weights
    if weights.shape[:2] != (1, 1) or operation.inputs[0].shape[1:3] != (1, 1):
        raise NoHeadError(f"the last layer is a convolution of {weights.shape[0]}x{weights.shape[1]} over maps")
    return weights[0, 0]
