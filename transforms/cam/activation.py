"""Class activation maps (Zhou et al., Learning Deep Features for Discriminative Localization, CVPR 2016)."""

from typing import NamedTuple

from transforms.cam.head import PooledHead, find_pooled_head
from transforms.cam.method import Features, Tensor, Weights
from transforms.graph.layers import LayerGraph


def class_activation_maps(features: Tensor, class_weights: Tensor) -> Tensor:
    """Weighted sum of feature maps (section 2, equation 2): M_c(x, y) = sum_k w_k^c f_k(x, y).

    The mean over (h, w) of a class's map plus the class's bias is its logit. Works on NumPy arrays and tensors.

    Args:
      features: (n, h, w, channels), the input f of global average pooling.
      class_weights: (n, channels, k), the head's weights w of k classes for each image.

    Returns:
      (n, h, w, k) raw maps: no ReLU, no normalisation.
    """
    return features @ class_weights[:, None]


def weighted_maps(features: Tensor, class_weights: Tensor, weights: Weights) -> Tensor:
    """As `class_activation_maps`, (n, k, h, w); where `weights` is "positive", negative ones count as 0."""
    import tensorflow as tf

    if weights == "positive":
        class_weights = tf.nn.relu(class_weights)
    return tf.transpose(class_activation_maps(features, class_weights), (0, 3, 1, 2))


class PlainCam(NamedTuple):
    """The maps of a linear head over pooled features: its weights weigh the feature maps."""

    head: PooledHead
    weights: Weights

    @classmethod
    def of(cls, graph: LayerGraph, weights: Weights) -> "PlainCam":
        """Finds the head of a graph from images to classes.

        Raises:
          NoHeadError: it has none.
        """
        return cls(find_pooled_head(graph), weights)

    def maps(self, features: Features, class_index: Tensor) -> Tensor:
        """See `CamMethod.maps`."""
        import tensorflow as tf

        class_weights = tf.transpose(tf.gather(self.head.weights, class_index, axis=1), (1, 0, 2))
        return weighted_maps(features.dense, class_weights, self.weights)
