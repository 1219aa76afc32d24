"""Trains the demo model and writes transforms/model/demo_resnet50.npz: python scripts/train_demo_model.py [OUT.npz]

The network is keras.applications.ResNet50 with every convolution at one eighth of its filters (386,168 parameters). It
learns from generated scenes (pipeline/demo/scenes.py) with image labels only: no box is ever shown to it. Weights are
stored under "<layer>/<index>"; `transforms.model.demo` pads them with zeros into the full ResNet-50.
Takes about 20 minutes on two cores.
"""

import multiprocessing
import sys

import cv2
import keras
import numpy as np

from pipeline.demo import scenes
from transforms.model import demo as demo_model
from transforms.model.preprocess import preprocess

SIDE_PX = 224
STEPS, BATCH_SIZE, TRAINING_SCENES = 1800, 64, 8000
FIRST_TRAINING_SEED = 1_000_000  # the demo and its tests draw from seeds below this


def draw_squashed(seed):
    scene = scenes.draw_scene(seed)
    return cv2.resize(scene.image, (SIDE_PX, SIDE_PX), interpolation=cv2.INTER_AREA), scene.label


def batches(images, labels, rng):
    while True:
        order = rng.permutation(len(images))
        for start in range(0, len(order) - BATCH_SIZE + 1, BATCH_SIZE):
            chosen = np.sort(order[start : start + BATCH_SIZE])
            batch = images[chosen]
            mirrored = rng.random(BATCH_SIZE) < 0.5
            batch[mirrored] = batch[mirrored, :, ::-1]
            yield preprocess(batch.astype(np.float32), "caffe"), labels[chosen]


def main():
    keras.utils.set_random_seed(0)
    with multiprocessing.get_context("fork").Pool() as pool:
        drawn = pool.map(draw_squashed, range(FIRST_TRAINING_SEED, FIRST_TRAINING_SEED + TRAINING_SCENES), chunksize=50)
    images, labels = np.stack([image for image, _ in drawn]), np.array([label for _, label in drawn])
    model = demo_model.narrow_resnet50(len(scenes.CLASS_NAMES))
    schedule = keras.optimizers.schedules.CosineDecay(2e-3, STEPS, warmup_target=2e-3, warmup_steps=50)
    model.compile(
        keras.optimizers.Adam(schedule),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
    )
    model.fit(batches(images, labels, np.random.default_rng(0)), steps_per_epoch=STEPS // 10, epochs=10, verbose=2)
    demo_model.save(model, sys.argv[1] if len(sys.argv) > 1 else demo_model.WEIGHTS_PATH)


if __name__ == "__main__":
    main()
