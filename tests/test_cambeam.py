"""What people call from Python."""

import logging
import os
import pathlib
import signal
import subprocess
import sys
import threading

import pytest

import cambeam
from tests.factories import jpeg, tiny_model, write_samples, write_tar

ROOT = pathlib.Path(__file__).parents[1]
SETTINGS = {"model.batch_size": 4}


@pytest.fixture(scope="module")
def tiny(tmp_path_factory) -> pathlib.Path:
    path = tmp_path_factory.mktemp("model") / "tiny.keras"
    tiny_model(classes=8).save(path)
    return path


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> pathlib.Path:
    """Two shards, of 5 images and of 3."""
    folder = tmp_path_factory.mktemp("data [1]")
    write_samples(folder / "a.tar", 5)
    write_samples(folder / "b.tar", 3, first=5)
    return folder


@pytest.fixture(scope="module")
def labels(tiny, data, tmp_path_factory) -> cambeam.Labels:
    return cambeam.label(data, model=tiny, output=tmp_path_factory.mktemp("out [1]") / "labels", settings=SETTINGS)


@pytest.fixture
def rejecting(tmp_path) -> str:
    """A shard of which two of three images are broken."""
    members = [("good.jpg", jpeg(1)), ("text.jpg", b"this is a text file\n"), ("empty.jpg", b"")]
    return write_tar(tmp_path / "bad.tar", members)


def test_importing_it_is_light():
    code = "import sys, cambeam; print({'apache_beam', 'tensorflow', 'keras', 'pandas', 'duckdb'} & set(sys.modules))"
    result = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert result.stdout == "set()\n"


def test_every_name_it_offers_is_there():
    for name in cambeam.__all__:
        assert getattr(cambeam, name) is not None
    assert dir(cambeam) == cambeam.__all__
    with pytest.raises(AttributeError, match="no attribute 'lable'"):
        cambeam.lable  # noqa: B018


def test_rows(labels):
    ids = [f"{number:06d}" for number in range(8)]
    assert labels.arrow()["image_id"].to_pylist() == ids
    assert labels.arrow(["image_id", "class_index"]).column_names == ["image_id", "class_index"]
    assert [batch["image_id"].to_pylist() for batch in labels.batches(["image_id"])] == [ids[:5], ids[5:]]
    frame = labels.pandas(["image_id", "probability"])
    assert (list(frame.columns), frame["image_id"].tolist()) == (["image_id", "probability"], ids)
    relation = labels.duckdb().filter("index_in_shard > 2").order("image_id")
    assert [row[0] for row in relation.select("image_id").fetchall()] == ["000003", "000004"]


def test_rows_in_a_connection_of_the_users_own(labels):
    import duckdb

    with duckdb.connect() as connection:
        rows = labels.duckdb(connection)  # noqa: F841 # DuckDB finds it by its name
        assert connection.sql("SELECT count(*) FROM rows").fetchall() == [(8,)]


def test_what_it_says_of_itself(labels):
    assert labels.totals == (8, 0, {}, 2, 2)
    assert len(labels) == 8
    assert labels.complete
    assert repr(labels) == f"<Labels of 8 images, 0 rejected, in {labels.path!r}: complete>"
    assert labels.rejects().num_rows == 0
    assert labels.rejects().column_names[0] == "image_id"


def test_an_earlier_output_is_read_alike(labels, tmp_path):
    again = cambeam.open(pathlib.Path(labels.path))
    assert again.arrow().equals(labels.arrow())
    assert again.totals == labels.totals
    with pytest.raises(cambeam.UserError, match="is not the output of a run"):
        cambeam.open(tmp_path)


def test_an_output_without_rows_has_its_columns(tiny, tmp_path):
    path = write_samples(tmp_path / "none.tar", 0)
    labels = cambeam.label(path, model=tiny, output=tmp_path / "out")
    assert len(labels) == labels.arrow().num_rows == len(labels.duckdb().fetchall()) == 0
    assert "class_name" in labels.arrow().column_names
    assert "class_name" in labels.duckdb().columns


def test_an_output_that_is_not_complete(labels, tiny, data, tmp_path):
    out = tmp_path / "out"
    cambeam.label([data / "a.tar", str(data / "b.tar")], model=tiny, output=out, settings=SETTINGS)
    next((out / "_shards").glob("b-*")).unlink()
    (out / "_SUCCESS").unlink()
    part = cambeam.open(out)
    assert (len(part), part.totals.shards, part.totals.planned, part.complete) == (5, 1, 2, False)
    assert repr(part).endswith("not complete, 1 of 2 shards are done>")
    for shard in (out / "_shards").glob("*"):
        shard.unlink()
    nothing = cambeam.open(out)
    assert (nothing.arrow().num_rows, nothing.arrow().column_names) == (0, part.arrow().column_names)
    assert len(nothing.duckdb().fetchall()) == 0
    assert cambeam.label(data, model=tiny, output=out, settings=SETTINGS).complete


def test_settings_beat_the_configuration(tiny, data, tmp_path):
    path = tmp_path / "config.yaml"
    path.write_text(f"cam: {{top_k: 3}}\nthumbnails: {{enabled: false}}\nmodel: {{source: '{tiny}'}}\n")
    for number, config in enumerate([path, cambeam.Config(cam={"top_k": 3}, thumbnails={"enabled": False})]):
        settings = {**SETTINGS, "cam.top_k": 2, "model.source": str(tiny)}
        labels = cambeam.label(data / "b.tar", output=tmp_path / str(number), config=config, settings=settings)
        assert {len(row) for row in labels.arrow()["predictions"].to_pylist()} == {2}
        assert "thumbnail" not in labels.arrow().column_names


def test_what_can_not_be_used_is_an_error_and_changes_nothing(tiny, data, tmp_path):
    out = tmp_path / "out"
    for arguments, message in [
        ({"model": "no-such-model"}, "no model at "),
        ({"settings": {"cam.topk": 1}}, r"did you mean 'cam.top_k'\?"),
        ({"beam_options": ["--direct_num_wokers=2"]}, "knows the option --direct_num_wokers=2"),
        ({"config": tmp_path / "no.yaml"}, "can't read the config"),
    ]:
        with pytest.raises(cambeam.UserError, match=message):
            cambeam.label(data, output=out, **({"model": tiny} | arguments))
    with pytest.raises(cambeam.UserError, match="no file matches the input"):
        cambeam.label(tmp_path / "*.tar", output=out, model=tiny)
    assert not out.exists()


def test_too_many_rejects_are_an_error_that_has_the_labels(tiny, rejecting, tmp_path):
    with pytest.raises(cambeam.TooManyRejectedError, match="2 of 3 images were rejected, more than") as raised:
        cambeam.label(rejecting, model=tiny, output=tmp_path / "out")
    labels = raised.value.labels
    assert labels.totals == (1, 2, {"unknown_format": 1, "empty": 1}, 1, 1)
    assert not labels.complete
    assert labels.rejects()["error_type"].to_pylist() == ["unknown_format", "empty"]
    allowed = {"failures.max_fraction": 1}
    assert cambeam.label(rejecting, model=tiny, output=tmp_path / "out", settings=allowed).complete


def test_a_run_that_fails_is_one_error(tiny, data, tmp_path, monkeypatch):
    monkeypatch.setattr("transforms.output.writer.image_table", lambda *_: 1 / 0)
    with pytest.raises(cambeam.RunError, match="The run failed: ZeroDivisionError: division by zero") as raised:
        cambeam.label(data, model=tiny, output=tmp_path / "out")
    assert "goes on from there" in str(raised.value)


def test_nothing_is_printed_or_left_set_up_unless_asked_for(tiny, data, tmp_path, capfd, monkeypatch):
    root, noisy = logging.getLogger(), logging.getLogger("apache_beam")
    monkeypatch.setattr(root, "handlers", [])  # pytest's own
    before = (noisy.level, dict(os.environ), threading.excepthook, sys.stderr)
    cambeam.label(data, model=tiny, output=tmp_path / "out")
    assert capfd.readouterr() == ("", "")
    assert (noisy.level, dict(os.environ), threading.excepthook, sys.stderr) == before
    assert root.handlers == []
    cambeam.label(data, model=tiny, output=tmp_path / "out", show_progress=True)
    assert "2 of 2 shards are done already" in capfd.readouterr().err


def test_two_models_in_one_process_and_threads_that_wait_for_each_other(labels, data, tmp_path):
    other = tmp_path / "other.keras"
    tiny_model(classes=3, seed=1).save(other)
    found: dict[str, cambeam.Labels] = {}

    def work(name: str) -> None:
        found[name] = cambeam.label(data, model=other, output=tmp_path / name, settings=SETTINGS)

    threads = [threading.Thread(target=work, args=(name,)) for name in ("one", "two")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found["one"].arrow(["class_index", "box"]) == found["two"].arrow(["class_index", "box"])
    assert max(found["one"].arrow()["class_index"].to_pylist()) < 3
    assert sys.stderr is sys.__stderr__ or not sys.stderr.closed


def test_a_model_that_was_saved_anew_is_loaded_anew(data, tmp_path):
    model, shard = tmp_path / "model.keras", data / "b.tar"
    tiny_model(classes=8, seed=1).save(model)
    first = cambeam.label(shard, model=model, output=tmp_path / "first", settings=SETTINGS).arrow(["probability"])
    tiny_model(classes=8, seed=2).save(model)
    second = cambeam.label(shard, model=model, output=tmp_path / "second", settings=SETTINGS).arrow(["probability"])
    assert first != second


def test_an_interrupted_call_stops_and_the_next_goes_on(tiny, tmp_path):
    for number in range(30):
        write_samples(tmp_path / f"{number:02d}.tar", 20)
    arguments = {"model": tiny, "output": tmp_path / "out", "settings": SETTINGS}
    previous = signal.signal(signal.SIGINT, signal.default_int_handler)

    def interrupt() -> None:
        while not list((tmp_path / "out" / "_shards").glob("*.json")):
            threading.Event().wait(0.01)
        signal.raise_signal(signal.SIGINT) if sys.platform == "win32" else os.kill(os.getpid(), signal.SIGINT)

    try:
        threading.Thread(target=interrupt, daemon=True).start()
        with pytest.raises(KeyboardInterrupt, match="What is committed stays"):
            cambeam.label(tmp_path / "*.tar", **arguments)
    finally:
        signal.signal(signal.SIGINT, previous)
    assert 0 < len(cambeam.open(tmp_path / "out")) < 600
    assert len(cambeam.label(tmp_path / "*.tar", **arguments)) == 600


@pytest.mark.parametrize("package", ["pandas", "duckdb"])
def test_what_is_not_installed_is_named(labels, monkeypatch, package):
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(ImportError, match=f"{package} is not installed: pip install {package}"):
        getattr(labels, package)()


def test_a_notebook(tiny, data, tmp_path):
    client = pytest.importorskip("jupyter_client")
    pytest.importorskip("ipykernel")
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    manager, kernel = client.manager.start_new_kernel(cwd=str(tmp_path), env=environment)
    code = (
        "import cambeam\n"
        f"labels = cambeam.label({str(data)!r}, model={str(tiny)!r}, output='labels', settings={SETTINGS})\n"
        "print(len(labels.pandas()))"
    )
    said = []
    try:
        kernel.execute_interactive(code, timeout=300, output_hook=said.append)
    finally:
        kernel.stop_channels()
        manager.shutdown_kernel(now=True)
        manager.cleanup_resources()
    contents = [message["content"] for message in said if message["msg_type"] in ("stream", "error")]
    assert [content.get("text") or content.get("evalue") for content in contents] == ["8\n"]
