import keras
import numpy as np
import pytest

from pipeline.demo import command as demo
from pipeline.demo import scenes
from tests.factories import encode, image
from transforms.locate.boxes import find_boxes, iou, to_original
from transforms.locate.settings import BoxSettings
from transforms.model import demo as demo_model
from transforms.model.settings import ModelSettings
from transforms.predict.engine_settings import EngineSettings
from transforms.predict.tensorflow_engine import TensorFlowEngine
from transforms.read.decode import decode
from transforms.records import Sample

FIRST_UNSEEN, UNSEEN = 500_000, 100  # training draws from a million on, the demo from zero on


@pytest.fixture(scope="module")
def labelled():
    """100 scenes that the training never saw, and what the demo model says of them."""
    drawn = [scenes.draw_scene(seed) for seed in range(FIRST_UNSEEN, FIRST_UNSEEN + UNSEEN)]
    pixels = np.empty((UNSEEN, 224, 224, 3), np.uint8)
    for scene, row in zip(drawn, pixels, strict=True):
        decode(Sample("", "", encode(scene.image, "JPEG", quality=95)), row)
    engine = TensorFlowEngine(EngineSettings(model=ModelSettings(source="demo")))
    return drawn, engine.predict(pixels, [None] * UNSEEN)


def test_top_1_accuracy_is_at_least_97_percent(labelled):
    drawn, predictions = labelled
    assert np.mean(predictions.class_index[:, 0] == [scene.label for scene in drawn]) >= 0.97


def test_at_least_70_percent_of_boxes_overlap_by_half(labelled):
    drawn, predictions = labelled
    settings = BoxSettings(**demo.SETTINGS["boxes"])
    hits = 0
    for scene, cam in zip(drawn, predictions.cams[:, 0], strict=True):
        height, width = scene.image.shape[:2]
        original = image(width=width, height=height, preview_px=None)
        (box, *_) = [to_original(box, original, 1.0) for box in find_boxes(cam, settings)]
        hits += iou(box, scene.box) >= 0.5
    assert hits / UNSEEN >= 0.70


def test_the_padded_model_is_a_full_resnet50_that_computes_what_the_narrow_one_does():
    narrow = demo_model.narrow_resnet50(len(demo_model.CLASS_NAMES))
    assert narrow.count_params() == 386_168
    with np.load(demo_model.WEIGHTS_PATH) as stored:
        for layer in narrow.layers:
            layer.set_weights([stored[f"{layer.name}/{n}"].astype(np.float32) for n in range(len(layer.weights))])
    full = demo_model.load()
    assert full.get_layer("conv5_block3_out").output.shape == (None, 7, 7, 2048)
    reference = keras.applications.ResNet50(weights=None, classes=8)
    assert [layer.name for layer in full.layers[1:]] == [layer.name for layer in reference.layers[1:]]
    assert full.count_params() == reference.count_params()
    pixels = np.random.default_rng(0).normal(0, 50, (2, 224, 224, 3)).astype(np.float32)
    np.testing.assert_allclose(np.asarray(full(pixels)), np.asarray(narrow(pixels)), rtol=1e-3, atol=1e-3)


def test_saving_and_loading_keep_the_weights(tmp_path, monkeypatch):
    keras.utils.set_random_seed(0)
    narrow = demo_model.narrow_resnet50(8)
    demo_model.save(narrow, tmp_path / "weights.npz")
    monkeypatch.setattr(demo_model, "WEIGHTS_PATH", tmp_path / "weights.npz")
    loaded = demo_model.load().get_layer("conv1_conv").get_weights()[0]
    np.testing.assert_array_equal(loaded[..., :8], narrow.get_layer("conv1_conv").get_weights()[0].astype(np.float16))
    assert not loaded[..., 8:].any()


def test_the_weights_are_small_enough_to_travel():
    assert demo_model.WEIGHTS_PATH.stat().st_size < 1_500_000
