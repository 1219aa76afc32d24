"""The methods that make class maps, by their names in `cam.method`. A new one is a module and a line here."""

from collections.abc import Callable

from transforms.cam.activation import PlainCam
from transforms.cam.grad_cam import GradCam
from transforms.cam.method import CamMethod, Weights
from transforms.graph.layers import LayerGraph

# each finds the head of a graph from images to classes, and makes maps of its features
METHODS: dict[str, Callable[[LayerGraph, Weights], CamMethod]] = {"cam": PlainCam.of, "grad-cam": GradCam.of}
