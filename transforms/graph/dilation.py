"""Class maps of twice the resolution without retraining: the last stride removed, what follows it dilated.

Yu et al., Dilated Residual Networks, CVPR 2017: a network whose stride is removed computes at every second
position what it computed before, where each convolution behind the stride takes every second of its inputs.
"""

from typing import NamedTuple

from transforms.errors import UserError
from transforms.graph.layers import Call, LayerGraph

_CONVOLUTIONS = ("Conv2D", "DepthwiseConv2D")
_POSITION_BY_POSITION = ("Activation", "Add", "BatchNormalization", "Concatenate", "Dropout", "Multiply", "ReLU")


class DilationError(UserError):
    """The graph does not permit maps of twice the resolution."""


class Dilation(NamedTuple):
    """Convolutions that are run in another way than their layers say, by the numbers of their outputs.

    Attributes:
      unstrided: without their stride of 2.
      dilated: with twice their dilation.
    """

    unstrided: frozenset[int] = frozenset()
    dilated: frozenset[int] = frozenset()


def remove_last_stride(graph: LayerGraph) -> Dilation:
    """Finds what to change for an output of twice the resolution.

    Every second row and column of the new output, from the first on, equal the old output.

    Args:
      graph: from the images to the feature maps.

    Raises:
      DilationError: the last stride is not of convolutions, or a layer behind it can't be dilated.
    """
    strides = graph.strides()
    last_stage = [call for call in graph.calls if strides[call.outputs[0]] == strides[graph.output]]
    unstrided, dilated = [], []
    for call in last_stage:
        if call.strides != (1, 1):
            if not is_plain_convolution(call) or call.strides != (2, 2):
                raise _refusal(call, "is where the last stride is, and not a plain convolution of stride 2")
            unstrided.append(call.outputs[0])
        elif is_plain_convolution(call):
            if tuple(call.layer.kernel_size) != (1, 1):
                dilated.append(call.outputs[0])
        elif not (call.kind in _POSITION_BY_POSITION or _is_padding_of_convolution(graph, call)):
            raise _refusal(call, "follows the last stride and can't be dilated")
    if not unstrided:
        raise DilationError("cam.resolution=14 needs a model with a strided convolution: this one has none")
    return Dilation(frozenset(unstrided), frozenset(dilated))


def is_plain_convolution(call: Call) -> bool:
    """Tells whether a call is a convolution of Keras' own over the last axis, without groups."""
    if call.kind not in _CONVOLUTIONS:
        return False
    return call.layer.data_format == "channels_last" and getattr(call.layer, "groups", 1) == 1


def _is_padding_of_convolution(graph: LayerGraph, call: Call) -> bool:
    """Tells whether a call pads for one convolution of whole channels, so that `fold` makes its padding grow too."""
    following = graph.consumers(call.outputs[0])
    return (
        call.kind == "ZeroPadding2D"
        and len(following) == 1
        and following[0].kind == "Conv2D"
        and is_plain_convolution(following[0])
        and following[0].layer.padding == "valid"
    )


def _refusal(call: Call, why: str) -> DilationError:
    return DilationError(f"cam.resolution=14 is not possible with this model: {call.layer.name} ({call.kind}) {why}")
