"""Small inputs, models and fakes that the tests share. TensorFlow is imported only where a model is built."""

import io
import pathlib
import tarfile
from collections.abc import Iterable
from typing import Any

import cv2
import numpy as np
import PIL.Image

from transforms.cam.settings import CamSettings
from transforms.model.settings import ModelSettings
from transforms.predict.device import Device
from transforms.predict.engine import Engine, Labels, ModelDescription
from transforms.predict.engine_settings import EngineSettings
from transforms.records import Box, ErrorType, Image, Predictions, Reject, Shard, ShardBatch, Stage


def gradient(width: int = 64, height: int = 48) -> np.ndarray:
    """(height, width, 3) uint8 RGB: red grows to the right, green downwards, blue is half."""
    y, x = np.mgrid[:height, :width]
    red, green = x * 255 // max(width - 1, 1), y * 255 // max(height - 1, 1)
    return np.stack([red, green, np.full_like(red, 128)], axis=-1).astype(np.uint8)


def encode(image: Any, format: str = "PNG", mode: str | None = None, **options: Any) -> bytes:
    """Returns an image, an array or Pillow's, as the bytes of a file."""
    image = PIL.Image.fromarray(image) if isinstance(image, np.ndarray) else image
    if mode:
        image = image.convert(mode)
    buffer = io.BytesIO()
    image.save(buffer, format, **options)
    return buffer.getvalue()


def jpeg(seed: int = 0, side_px: int = 40) -> bytes:
    """Returns a small JPEG that differs by seed."""
    coarse = np.random.default_rng(seed).integers(0, 256, (5, 5, 3), np.uint8)
    return encode(cv2.resize(coarse, (side_px, side_px), interpolation=cv2.INTER_CUBIC), "JPEG", quality=90)


def write_tar(path: str | pathlib.Path, members: Iterable[tuple[str, bytes]], mode: Any = "w") -> str:
    """Writes (name, content) members to a tar file and returns its path."""
    with tarfile.open(path, mode) as tar:
        for name, content in members:
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return str(path)


def write_samples(path: str | pathlib.Path, count: int, first: int = 0) -> str:
    """Writes a WebDataset shard of labelled noise images 000000, 000001, ..."""
    members = []
    for number in range(first, first + count):
        members += [(f"{number:06d}.jpg", jpeg(number)), (f"{number:06d}.cls", str(number % 8).encode())]
    return write_tar(path, members)


def write_scenes(path: str | pathlib.Path, seeds: Iterable[int]) -> str:
    """Writes a WebDataset shard of the demo's scenes."""
    from pipeline.demo.scenes import draw_scene

    members = []
    for seed in seeds:
        scene = draw_scene(seed)
        members += [
            (f"scene-{seed:03d}.jpg", cv2.imencode(".jpg", scene.image[..., ::-1])[1].tobytes()),
            (f"scene-{seed:03d}.cls", str(scene.label).encode()),
        ]
    return write_tar(path, members)


def shard(path: str | pathlib.Path = "/data/a.tar", format: str = "webdataset", **changes: Any) -> Shard:
    uri = str(path)
    values: dict[str, Any] = {"shard_id": f"{pathlib.Path(uri).stem}-00000000", "version": "1@1", "num_bytes": 1}
    return Shard(**(values | {"uri": uri, "format": format} | changes))


def image(
    index: int = 0,
    width: int = 100,
    height: int = 50,
    view: tuple[int, int, int, int] | None = None,
    label: int | None = None,
    preview_px: int | None = 20,
) -> Image:
    preview = None if preview_px is None else gradient(preview_px, max(1, preview_px * height // width))
    return Image(
        image_id=f"{index:06d}",
        uri=f"/data/a.tar#{index:06d}.jpg",
        index_in_shard=index,
        label=label,
        width=width,
        height=height,
        sha256=f"{index:064x}",
        view=view or (0, 0, width, height),
        preview=preview,
    )


def reject(index: int = 0) -> Reject:
    return Reject(f"{index:06d}", f"/data/a.tar#{index:06d}.jpg", index, Stage.DECODE, ErrorType.CORRUPT, "broken")


def predictions(count: int, top_k: int = 1, first: int = 0, **changes: Any) -> Predictions:
    """Predictions of images `first`, ...: class k of image i is (i + k) % 8, its map is hot in the middle."""
    rank = np.tile(np.arange(top_k, dtype=np.int32), (count, 1))
    class_index = (np.arange(first, first + count, dtype=np.int32)[:, None] + rank) % 8
    cams = np.zeros((count, top_k, 7, 7), np.float32)
    cams[..., 2:5, 2:5] = 1
    probability = (0.5 / (1 + rank)).astype(np.float32)
    present = np.ones_like(rank, bool)
    return Predictions(class_index, probability, np.log(probability), rank, present, cams)._replace(**changes)


def labelled_batch(
    count: int, first: int = 0, is_last: bool = True, rejected: int = 0, of: Shard | None = None, **changes: Any
) -> ShardBatch:
    """A batch as it reaches the writer: `count` images, then `rejected` rejects."""
    indices = range(first, first + count)
    box = Box(1.0, 2.0, 30.0, 40.0, 0.25, 0.2)
    values: dict[str, Any] = {
        "images": [image(index, label=index % 8) for index in indices],
        "rejects": [reject(index) for index in range(first + count, first + count + rejected)],
        "predictions": predictions(count, first=first) if count else None,
        "boxes": [[[box]] for _ in indices],
        "thumbnails": [jpeg(index, 16) for index in indices] if count else None,
        "precision": "float32" if count else "",
        "device": "a processor" if count else "",
        "seconds": {"predict": 0.5},
    }
    return ShardBatch(of or shard(), first, count + rejected, is_last, **(values | changes))


class FakeEngine:
    """Fails on every batch that holds a pixel of value 13, gives NaN where there is one of 14, and counts its calls."""

    side_px, num_classes = 2, 256
    device = Device("a fake", is_gpu=False, precision="float32", reason="a test")
    description = ModelDescription("a fake", head="none", preprocess="none")

    def __init__(self, settings: EngineSettings | None = None):
        self.sizes: list[int] = []

    def predict(self, pixels: np.ndarray, labels: Labels) -> Predictions:
        self.sizes.append(len(pixels))
        if (pixels == 13).any():
            raise RuntimeError("an image of thirteen")
        found = predictions(len(pixels))
        logit = np.where((pixels == 14).any(axis=(1, 2, 3))[:, None], np.nan, found.logit)
        return found._replace(class_index=pixels[:, 0, 0, :1].astype(np.int32), logit=logit)


_is_an_engine: Engine = FakeEngine()  # which mypy checks


def engine_settings(source: str = "demo", **changes: Any) -> EngineSettings:
    """Returns settings of an engine; `changes` are keys of its own, of `model` or of `cam`."""
    model, cam = (
        {
            key: changes.pop(key)
            for key in group.model_fields
            if key in changes and key not in EngineSettings.model_fields
        }
        for group in (ModelSettings, CamSettings)
    )
    return EngineSettings(model=ModelSettings(source=source, **model), cam=CamSettings(**cam), **changes)


def tiny_model(classes: int = 5, side_px: int = 32, softmax: bool = False, bias: bool = True, seed: int = 0) -> Any:
    """A Keras classifier of one convolution, global average pooling and a dense layer."""
    import keras

    from transforms.predict.tensorflow_device import configure_tensorflow

    configure_tensorflow()  # before the model starts TensorFlow
    keras.utils.set_random_seed(seed)
    x = inputs = keras.Input((side_px, side_px, 3))
    x = keras.layers.Rescaling(1 / 127.5, offset=-1)(x)
    x = keras.layers.Conv2D(8, 3, strides=4, padding="same", activation="relu", name="features")(x)
    x = keras.layers.GlobalAveragePooling2D(name="pool")(x)
    activation = "softmax" if softmax else None
    initializer = keras.initializers.RandomNormal(stddev=1.0)
    x = keras.layers.Dense(
        classes, activation, bias, initializer, bias_initializer=initializer if bias else "zeros", name="head"
    )(x)
    return keras.Model(inputs, x, name="tiny")
