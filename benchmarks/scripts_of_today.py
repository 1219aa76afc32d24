"""What people write today, as a yardstick: `python -m benchmarks.scripts_of_today batched|single TAR MODEL.keras`.

`batched`: Pillow, `model.predict` in batches of 32, NumPy CAM, OpenCV box and thumbnail, pandas to Parquet. `single`:
the classic script, one image at a time: predict, enlarge all 2048 channels with `scipy.ndimage.zoom`, dot product with
the weights of the class. Both print images/s, start-up excluded.
"""

import argparse
import io
import os
import tarfile
import tempfile
import time

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import cv2
import keras
import numpy as np
import pandas as pd
import PIL.Image
import scipy.ndimage

MEAN, STD = np.array([0.485, 0.456, 0.406], np.float32), np.array([0.229, 0.224, 0.225], np.float32)


def read(path: str, limit: int) -> list[np.ndarray]:
    images = []
    with tarfile.open(path) as tar:
        for member in tar:
            if member.name.endswith(".jpg") and len(images) < limit:
                image = PIL.Image.open(io.BytesIO(tar.extractfile(member).read())).convert("RGB")
                images.append(np.asarray(image.resize((224, 224), PIL.Image.Resampling.BILINEAR)))
    return images


def load(path: str):
    model = keras.saving.load_model(path, compile=False)
    pooling = next(layer for layer in model.layers if isinstance(layer, keras.layers.GlobalAveragePooling2D))
    return keras.Model(model.inputs, [pooling.input, model.output]), model.layers[-1].get_weights()[0]


def box_and_thumbnail(cam: np.ndarray, image: np.ndarray) -> tuple[list[int], bytes]:
    cam = (cam - cam.min()) / (cam.max() - cam.min())
    contours, _ = cv2.findContours((cam > 0.2).astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
    box = list(cv2.boundingRect(max(contours, key=cv2.contourArea)))
    heat = cv2.applyColorMap((cam * 255).astype(np.uint8), cv2.COLORMAP_JET)
    blend = (0.4 * heat + 0.6 * image[..., ::-1]).astype(np.uint8)
    return box, cv2.imencode(".jpg", blend)[1].tobytes()


def batched(path: str, model, weights: np.ndarray, limit: int) -> int:
    rows = []
    images = read(path, limit)
    for start in range(0, len(images), 32):
        batch = np.stack(images[start : start + 32])
        activations, logits = model.predict((batch / 255.0 - MEAN) / STD, verbose=0)
        for image, activation, logit in zip(batch, activations, logits, strict=True):
            top = int(logit.argmax())
            cam = cv2.resize(activation @ weights[:, top], (224, 224))
            box, jpeg = box_and_thumbnail(cam, image)
            rows.append({"class_index": top, "logit": float(logit[top]), "box": box, "thumbnail": jpeg})
    with tempfile.TemporaryDirectory() as folder:
        pd.DataFrame(rows).to_parquet(os.path.join(folder, "labels.parquet"))
    return len(rows)


def single(path: str, model, weights: np.ndarray, limit: int) -> int:
    images = read(path, limit)
    for image in images:
        activations, logits = model.predict(((image / 255.0 - MEAN) / STD)[None], verbose=0)
        top = int(logits[0].argmax())
        enlarged = scipy.ndimage.zoom(activations[0], (32, 32, 1), order=1)
        cam = np.dot(enlarged.reshape(224 * 224, 2048), weights[:, top]).reshape(224, 224)
        box_and_thumbnail(cam, image)
    return len(images)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("script", choices=["batched", "single"])
    parser.add_argument("tar")
    parser.add_argument("model")
    parser.add_argument("--limit", type=int, default=100_000)
    arguments = parser.parse_args()
    model, weights = load(arguments.model)
    script = {"batched": batched, "single": single}[arguments.script]
    model.predict(np.zeros((32 if script is batched else 1, 224, 224, 3), np.float32), verbose=0)
    started = time.perf_counter()
    count = script(arguments.tar, model, weights, arguments.limit)
    print(count / (time.perf_counter() - started))


if __name__ == "__main__":
    main()
