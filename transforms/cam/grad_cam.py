"""Grad-CAM, for classifiers without a pooled head (Selvaraju et al., Grad-CAM, ICCV 2017)."""

from typing import NamedTuple

from transforms.cam.activation import weighted_maps
from transforms.cam.chain_head import ChainHead, find_chain_head
from transforms.cam.method import Features, Tensor, Weights
from transforms.graph.layers import LayerGraph


class GradCam(NamedTuple):
    """Maps of any head: the mean gradients of a class's logit weigh the feature maps (equations 1 and 2).

    On a pooled head the mean over (h, w) of the gradient is the class's own weight divided by h w, so that the maps
    equal class activation maps up to this factor. The ReLU of equation 2 is left out: maps are kept raw, and
    normalisation "max" begins with it.
    """

    head: ChainHead
    weights: Weights

    @classmethod
    def of(cls, graph: LayerGraph, weights: Weights) -> "GradCam":
        """Finds the head of a graph from images to classes.

        Raises:
          NoHeadError: it has none.
        """
        return cls(find_chain_head(graph), weights)

    def maps(self, features: Features, class_index: Tensor) -> Tensor:
        """See `CamMethod.maps`."""
        import tensorflow as tf

        gradients = self.head.gradients(features.coarse, class_index)
        class_weights = tf.stack([tf.reduce_mean(gradient, axis=(1, 2)) for gradient in gradients], axis=2)
        return weighted_maps(features.dense, class_weights, self.weights)
