"""What `cambeam inspect` says."""

import mmap
import threading

import numpy as np
import pytest

from pipeline import cli
from pipeline.inspect.memory import peak_bytes
from tests.exported import Labelled, write_output
from transforms.output.layout import Layout
from transforms.predict.tensorflow_device import configure_tensorflow
from transforms.store import files as store
from transforms.worker.threads import num_cores

IMAGE = Labelled("a", [(0, 0.9, [(1, 1, 9, 9, 0.5)])])


@pytest.fixture
def output(tmp_path):
    return write_output(tmp_path, {"one": [IMAGE], "two": [IMAGE]})


@pytest.fixture(autouse=True)
def _wide(monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")


def _inspect(capsys, *arguments: str) -> dict[str, str]:
    """Returns the table, by its first column."""
    assert cli.main(["inspect", *arguments]) == 0
    rows: dict[str, str] = {}
    name = ""
    for line in capsys.readouterr().out.splitlines():
        if line.startswith("│"):
            key, value = (cell.strip() for cell in line.strip("│").split("│"))
            name = key or name
            rows[name] = f"{rows[name]} {value}" if name in rows else value
    return rows


def _change(layout: Layout, shard_id: str, **values) -> None:
    path = layout.marker(shard_id)
    store.write_json(path, store.read_json(path) | values, f"{path}.part")


def test_says_how_far_an_output_is(output, capsys):
    layout = Layout(output)
    _change(layout, "one", rejected=3, rejects_by_type={"corrupt": 2, "empty": 1})
    store.delete(layout.marker("two"))
    store.delete(layout.success)
    rows = _inspect(capsys, "--predictions", output)
    assert rows["complete"] == "no"
    assert rows["shards"] == "1 of 2 done"
    assert rows["rows"] == "1"
    assert rows["rejects"] == "3: 2 corrupt, 1 empty"
    assert "would label 1 shards that are not done yet: two" in rows["a rerun"]


@pytest.mark.skipif(num_cores() < 2, reason="with one core, markers are read one after the other")
def test_markers_are_read_at_the_same_time(output, capsys, monkeypatch):
    read_json, both = store.read_json, threading.Barrier(2)  # on a store, each takes a tenth of a second

    def slow(path):
        if "/_shards/" in path:
            both.wait(timeout=20)
        return read_json(path)

    monkeypatch.setattr(store, "read_json", slow)
    assert _inspect(capsys, "--predictions", output)["shards"] == "2 of 2 done"


def test_says_what_a_rerun_would_do_again(output, capsys, tmp_path):
    rows = _inspect(capsys, "--predictions", output)
    # the marker was made with settings "made", and for a version "1" of its input
    assert "would do 2 shards again that were done with other settings: one, two" in rows["a rerun"]
    for shard_id in ("one", "two"):
        _change(Layout(output), shard_id, fingerprint=rows["fingerprint"])
    (tmp_path / "two.tar").unlink()
    rows = _inspect(capsys, "--predictions", output)
    assert "would do 1 shards again whose input has changed: one" in rows["a rerun"]
    assert "would leave out 1 shards whose input is gone: two" in rows["a rerun"]


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # Keras' own
def test_describes_a_model(capsys, tmp_path, monkeypatch):
    configure_tensorflow()  # before Keras starts it, in this process
    import keras

    monkeypatch.setattr("pipeline.inspect.command.TRIAL_SECONDS", 0.1)
    layers = [keras.layers.Conv2D(4, 3), keras.layers.GlobalAveragePooling2D(name="pool")]
    head = keras.layers.Dense(5, name="scores")
    path = str(tmp_path / "small.keras")
    keras.Sequential([keras.Input((32, 32, 3)), *layers, head], name="small").save(path)
    settings = ["model.precision=float32", "model.batch_size=8", "model.preprocess=torch"]
    rows = _inspect(capsys, "--model", path, *(word for setting in settings for word in ("--set", setting)))
    assert rows["model"] == "small"
    assert rows["classes"] == "5: class_0, class_1, class_2, class_3, ..."
    assert rows["head"] == "scores <- pool"
    assert rows["input"] == "32x32, preprocessing torch"
    assert rows["precision"] == "float32 (as configured)"
    assert int(rows["speed"].split()[0]) >= 1
    assert 100 < int(rows["memory"].split()[0]) < 20_000  # TensorFlow alone takes more than 100 MB


def _fill_200_mb() -> None:
    memory = mmap.mmap(-1, 200_000_000)  # straight from the system, and back to it
    np.frombuffer(memory, np.uint8)[:] = 1


def test_measures_the_peak_of_a_call():
    before = peak_bytes(lambda: None)
    if before is None:
        pytest.skip("this system does not tell the peak of memory")
    peak = peak_bytes(_fill_200_mb)
    assert 190e6 < peak - before < 300e6
    assert peak_bytes(lambda: None) < peak - 150e6  # the earlier peak is forgotten
