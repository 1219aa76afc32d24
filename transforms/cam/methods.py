"""The ways to make class maps: the registry of `cam.method`. A new one is a module and a line here."""

from collections.abc import Callable

from transforms.cam.activation import PlainCam
from transforms.cam.grad_cam import GradCam
from transforms.cam.method import CamMethod, Weights
from transforms.graph.layers import LayerGraph

# what finds the head in a graph from images to classes, and makes maps with its weights signed or positive
METHODS: dict[str, Callable[[LayerGraph, Weights], CamMethod]] = {"cam": PlainCam.of, "grad-cam": GradCam.of}
