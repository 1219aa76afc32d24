"""Image preprocessing as the common ImageNet weights want it."""

import re
from typing import Any, Literal, get_args

import numpy as np

from transforms.errors import UserError

Preprocessing = Literal["caffe", "torch", "tf", "none"]

_IMAGENET_MEAN_BGR = (103.939, 116.779, 123.68)
_IMAGENET_MEAN_RGB = (0.485, 0.456, 0.406)  # of values in [0, 1]
_IMAGENET_STD_RGB = (0.229, 0.224, 0.225)
# what keras.applications' own models want, by model name
_BY_MODEL_NAME: dict[str, Preprocessing] = {
    r"(resnet(50|101|152)|vgg(16|19))": "caffe",
    r"(resnet(50|101|152)v2|mobilenet(v2)?_\d.*|inception_v3|inception_resnet_v2|xception|nasnet.*)": "tf",
    r"densenet(121|169|201)": "torch",
    r"(efficientnet.*|convnext.*|MobilenetV3.*)": "none",
}


def preprocess(images: Any, kind: str) -> Any:
    """Makes of pixels what a model takes; works on NumPy arrays and tensors.

    Args:
      images: (n, h, w, 3) float32 RGB, 0 to 255.
      kind: "caffe" is BGR minus ImageNet's mean, "torch" is scaled to [0, 1], minus the mean, divided by the deviation,
        "tf" is scaled to [-1, 1], "none" is left as it is.

    Returns:
      (n, h, w, 3) float32.
    """
    if kind == "caffe":
        return images[..., ::-1] - np.array(_IMAGENET_MEAN_BGR, np.float32)
    if kind == "torch":
        std, mean = np.array(_IMAGENET_STD_RGB, np.float32), np.array(_IMAGENET_MEAN_RGB, np.float32)
        return images * (1 / (255 * std)) - mean / std
    return images / 127.5 - 1.0 if kind == "tf" else images


def guess(model_name: str, layer_kinds: list[str]) -> Preprocessing:
    """Tells the preprocessing that a Keras model wants by its name, or by a layer in it that does it already.

    Args:
      layer_kinds: of its layers, from the first on.

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
        f"{', '.join(get_args(Preprocessing))}"
    )
