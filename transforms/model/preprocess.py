"""Image preprocessing as the common ImageNet weights want it."""

import re

import numpy as np
import tensorflow as tf

from transforms.errors import UserError

_IMAGENET_MEAN_BGR = (103.939, 116.779, 123.68)
_IMAGENET_MEAN_RGB = (0.485, 0.456, 0.406)  # of values in [0, 1]
_IMAGENET_STD_RGB = (0.229, 0.224, 0.225)
PREPROCESSINGS = ("caffe", "torch", "tf", "none")
# what keras.applications' own models want, by model name
_BY_MODEL_NAME = {
    r"(resnet(50|101|152)|vgg(16|19))": "caffe",
    r"(resnet(50|101|152)v2|mobilenet(v2)?_\d.*|inception_v3|inception_resnet_v2|xception|nasnet.*)": "tf",
    r"densenet(121|169|201)": "torch",
    r"(efficientnet.*|convnext.*|MobilenetV3.*)": "none",
}


def preprocess(images, kind: str):
    """(n, h, w, 3) uint8 RGB tensor -> float32 tensor as the model wants it.

    "caffe" is BGR minus ImageNet's mean, "torch" is scaled to [0, 1] minus the mean over the deviation, "tf" is scaled
    to [-1, 1], "none" is left at 0 to 255.
    """
    x = tf.cast(images, tf.float32)
    if kind == "caffe":
        return x[..., ::-1] - np.array(_IMAGENET_MEAN_BGR, np.float32)
    if kind == "torch":
        std, mean = np.array(_IMAGENET_STD_RGB, np.float32), np.array(_IMAGENET_MEAN_RGB, np.float32)
        return x * (1 / (255 * std)) - mean / std
    return x / 127.5 - 1.0 if kind == "tf" else x


def guess(model_name: str, layer_kinds: list[str]) -> str:
    """Tells the preprocessing that a Keras model wants from its name, or from a layer in it that does the work.

    Raises:
      UserError: neither tells.
    """
    if {"Rescaling", "Normalization"} & set(layer_kinds[:6]):
        return "none"
    for pattern, kind in _BY_MODEL_NAME.items():
        if re.fullmatch(pattern, model_name):
            return kind
    raise UserError(
        f"can't tell which preprocessing the model {model_name!r} wants; set model.preprocess to one of "
        f"{', '.join(PREPROCESSINGS)}"
    )
