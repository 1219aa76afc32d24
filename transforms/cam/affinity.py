"""Class maps smoothed over what looks alike, by the affinity of an earlier stage's features: no training needed.

After the self-correlation of Pan et al., Unveiling the Potential of Structure Preserving for Weakly Supervised Object
Localization, CVPR 2021; unlike there, features are centred, and each cell's affinities sum to one.
"""

import tensorflow as tf

from transforms.errors import UserError
from transforms.graph.layers import LayerGraph

POWER = 2  # of the cosines; larger keeps to more similar cells; 1.5 to 3 score alike


class AffinityError(UserError):
    """The graph has no stage whose features could tell what looks alike."""


def find_stage(graph: LayerGraph) -> int:
    """Returns the number of the last value with four times the rows of the output that all behind it is made from.

    In ResNet-50 that is the output of stage 3, 28x28: finer than the maps, and not yet as blind to edges as stage 4.

    Raises:
      AffinityError: there is none.
    """
    strides = graph.strides()
    last_use = {number: index for index, call in enumerate(graph.calls) for number in call.inputs}
    needed_until, found = last_use[graph.input], None  # the last call that takes a value older than the current one
    for index, call in enumerate(graph.calls):
        value = call.outputs[0]
        if index >= needed_until and call.kind != "ZeroPadding2D" and 4 * strides[value] == strides[graph.output]:
            found = value
        needed_until = max(needed_until, last_use.get(value, -1))
    if found is None:
        raise AffinityError("cam.refine=affinity needs a stage with four times the rows of the last: there is none")
    return found


def propagate(cams: tf.Tensor, stage: tf.Tensor) -> tf.Tensor:
    """Replaces each cell of class maps by the mean over all cells, weighted by how alike their features are.

    M'(i) = sum_j A(i, j) M(j), A(i, j) = max(0, cos(f_i - mean f, f_j - mean f)) ** POWER, divided by its sum over j.
    Without the image's mean, unlike regions correlate negatively and so share nothing.

    Args:
      cams: (n, k, h, w) maps; resized to half the rows and columns of the stage.
      stage: (n, 2 H, 2 W, channels) features.

    Returns:
      (n, k, H, W) float32.
    """
    features = tf.nn.avg_pool2d(tf.cast(stage, tf.float32), 2, 2, "VALID")
    height, width, channels = features.shape[1:]
    features = tf.reshape(features, (-1, height * width, channels))
    features = tf.math.l2_normalize(features - tf.reduce_mean(features, axis=1, keepdims=True), axis=2)
    affinity = tf.nn.relu(tf.matmul(features, features, transpose_b=True)) ** POWER
    affinity = tf.linalg.set_diag(affinity, tf.ones_like(affinity[:, 0]))  # a cell without features keeps its value
    affinity /= tf.reduce_sum(affinity, axis=2, keepdims=True)
    cells = tf.image.resize(tf.transpose(cams, (0, 2, 3, 1)), (height, width))  # bilinear, on half-pixel centres
    cells = tf.reshape(cells, (-1, height * width, cams.shape[1]))
    return tf.reshape(tf.transpose(affinity @ cells, (0, 2, 1)), (-1, cams.shape[1], height, width))
