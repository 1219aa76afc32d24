"""Class activation maps (Zhou et al., Learning Deep Features for Discriminative Localization, CVPR 2016)."""

from typing import Any


def class_activation_maps(activations: Any, class_weights: Any) -> Any:
    """Weighted sum of feature maps (section 2, equation 2): M_c(x, y) = sum_k w_k^c f_k(x, y).

    The mean over (h, w) of a class's map plus the class's bias is its logit. Works on NumPy arrays and tensors.

    Args:
      activations: (n, h, w, channels), the input f of global average pooling.
      class_weights: (n, channels, k), the head's weights w of k classes for each image.

    Returns:
      (n, h, w, k) raw maps: no ReLU, no normalisation.
    """
    return activations @ class_weights[:, None]
