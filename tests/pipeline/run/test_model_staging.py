import os
import pathlib

import numpy as np
import pytest

from pipeline import cli
from pipeline.run import beam_options, model_staging
from tests.factories import FakeEngine, engine_settings, tiny_model, write_samples
from transforms.model.sources import find
from transforms.output.layout import Layout
from transforms.predict import checks
from transforms.predict.engine import Engine
from transforms.predict.engine_settings import EngineSettings
from transforms.predict.tensorflow_engine import TensorFlowEngine


@pytest.fixture(scope="module")
def keras_file(tmp_path_factory):
    path = tmp_path_factory.mktemp("model") / "tiny.keras"
    tiny_model().save(path)
    return path


def settings_of(source, **settings) -> EngineSettings:
    return engine_settings(str(source), precision="float32", **settings)


def logits(engine: Engine) -> np.ndarray:
    pixels = checks.trial_images(engine.side_px)
    return engine.predict(pixels, [None] * len(pixels)).logit


def test_a_keras_file_is_copied_once_and_works_without_the_original(keras_file, tmp_path):
    original = tmp_path / "mine.keras"
    original.write_bytes(keras_file.read_bytes())
    settings, layout = settings_of(original), Layout(str(tmp_path / "out"))
    fingerprint = find(str(original)).fingerprint()
    engine = TensorFlowEngine(settings)

    staged = model_staging.stage(settings, engine, layout, fingerprint)
    assert staged.model.source == str(tmp_path / "out" / "_model" / fingerprint / "mine.keras")
    assert staged.model.preprocess == "none"  # which "auto" told from the model's Rescaling layer
    copied = os.stat(staged.model.source)
    assert model_staging.stage(settings, engine, layout, fingerprint) == staged
    assert os.stat(staged.model.source).st_mtime_ns == copied.st_mtime_ns
    assert not list(pathlib.Path(layout.temporary_folder).glob("*"))

    original.unlink()
    np.testing.assert_array_equal(logits(TensorFlowEngine(staged)), logits(engine))


def test_a_saved_model_is_copied_with_all_its_files(tmp_path):
    folder = tmp_path / "saved"
    tiny_model().export(folder, verbose=False)
    staged = model_staging.stage(settings_of(folder), FakeEngine(), Layout(str(tmp_path / "out")), "0123456789abcdef")
    assert staged.model.source == str(tmp_path / "out" / "_model" / "0123456789abcdef")
    names = sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())
    copy = pathlib.Path(staged.model.source)
    assert "variables/variables.index" in names
    assert sorted(str(path.relative_to(copy)) for path in copy.rglob("*") if path.is_file()) == names
    assert find(staged.model.source).fingerprint() == find(str(folder)).fingerprint()


def test_the_imagenet_model_is_saved_as_a_keras_file(monkeypatch, tmp_path, keras_file):
    import keras

    loads = []
    loaded = keras.saving.load_model(keras_file)
    monkeypatch.setattr(keras.applications, "ResNet50", lambda **_: loads.append(1) or loaded)
    settings, layout = settings_of("imagenet"), Layout(str(tmp_path / "out"))
    engine = TensorFlowEngine(settings)
    staged = model_staging.stage(settings, engine, layout, "f")
    assert staged.model.source.endswith("/_model/f/resnet50.keras")
    assert staged.model.preprocess == "caffe"
    np.testing.assert_array_equal(logits(TensorFlowEngine(staged)), logits(engine))
    assert model_staging.stage(settings, engine, layout, "f") == staged
    assert len(loads) == 2  # by the engine, and to save it once


@pytest.mark.parametrize("source", ["demo", "gs://bucket/model.keras"])
def test_what_workers_can_read_is_left_where_it_is(source, tmp_path):
    settings = settings_of(source)
    assert model_staging.stage(settings, FakeEngine(), Layout(str(tmp_path / "out")), "f") is settings
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("remote", [False, True])
def test_a_run_stages_the_model_for_remote_workers_only(remote, keras_file, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(beam_options, "is_remote", lambda options: remote)
    shard = write_samples(tmp_path / "a.tar", 3)
    words = ["run", "--input", shard, "--output", tmp_path / "out", "--model", keras_file]
    assert cli.main(list(map(str, words))) == 0
    assert bool(list((tmp_path / "out" / "_model").glob("*/tiny.keras"))) == remote
    assert "3 images labelled" in capsys.readouterr().err
    assert not list((tmp_path / "out" / "_tmp").glob("*"))
