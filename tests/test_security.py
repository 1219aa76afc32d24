"""What a stranger's shards and a careless command line must not do. See docs/security.md."""

import io
import json
import logging
import os
import pathlib
import pickle
import tarfile

import pyarrow.parquet as pq
import pytest

from pipeline import config
from pipeline.cli import main
from pipeline.logs import set_up_logging
from tests.shard_writers import photos, write_files
from transforms.read.batches import as_text
from transforms.store.credentials import has_credentials, redact


class _Harm:
    def __init__(self, path):
        self.path = str(path)

    def __reduce__(self):
        return os.mkdir, (self.path,)


def write_tar(path, members):
    with tarfile.open(path, "w") as tar:
        for name, content in members:
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))


def files_below(folder):
    return {str(path.relative_to(folder)) for path in pathlib.Path(folder).rglob("*") if path.is_file()}


def test_names_stay_names_and_members_are_not_executed(tmp_path):
    """A run over a tar whose members climb out of it, and one named so as to, writes below its output alone."""
    harm = tmp_path / "harm"
    photo = photos(1)[0].encoded
    source = tmp_path / "in"
    source.mkdir()
    members = [
        ("../../escaped.jpg", photo),
        ("../../escaped.pickle", pickle.dumps(_Harm(harm))),
        ("../../escaped.pyd", pickle.dumps(_Harm(harm))),
        ("../../escaped.json", b'{"__reduce__": "x"}'),
        ("/etc/absolute.jpg", photo),
        ("<script>alert(1)</script>.jpg", photo),
    ]
    name = "..%2f..%2fescaped<b>;$(touch x).tar"
    write_tar(source / name, members)
    before = files_below(tmp_path)
    output = tmp_path / "out"
    assert main(["run", f"--input={source}", f"--output={output}", "--model=demo"]) == 0
    assert {path for path in files_below(tmp_path) - before if not path.startswith("out/")} == set()
    assert not harm.exists()
    (images,) = (output / "images").iterdir()
    assert set(images.name) <= set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-.")
    ids = pq.read_table(images)["image_id"].to_pylist()
    assert ids == ["../../escaped", "/etc/absolute", "<script>alert(1)</script>"]


def test_a_lambda_layer_is_refused(tmp_path, capsys):
    import keras

    model = keras.Sequential([keras.Input((8, 8, 3)), keras.layers.Lambda(lambda x: x * 2)])
    model.save(tmp_path / "evil.keras")
    write_files(tmp_path / "in", photos(1))
    arguments = ["run", f"--input={tmp_path}/in", f"--output={tmp_path}/out", f"--model={tmp_path}/evil.keras"]
    assert main(arguments) == 2
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("cambeam:")]
    assert len(lines) == 1
    assert "ambda" in lines[0]
    assert not (tmp_path / "out").exists()


SECRETS = [
    ("s3://KEY:s3cret@bucket/a.tar", "s3://***@bucket/a.tar"),
    ("s3://KEY:s3/cr@et@bucket/a.tar", "s3://***@bucket/a.tar"),
    ("https://s3cret@host/a.jpg", "https://***@host/a.jpg"),
    ("https://h/a?X-Amz-Date=1&X-Amz-Signature=s3cret&x=1", "https://h/a?X-Amz-Date=1&X-Amz-Signature=***&x=1"),
    ("https://h/a.jpg?token=s3cret", "https://h/a.jpg?token=***"),
    ("https://h/a.jpg?sv=1&sig=s3cret%2F", "https://h/a.jpg?sv=1&sig=***"),
    ("can't open 's3://K:s3cret@b/x': no such bucket", "can't open 's3://***@b/x': no such bucket"),
]


@pytest.mark.parametrize(("text", "shown"), SECRETS)
def test_credentials_are_struck_out(text, shown):
    assert redact(text) == as_text(text) == shown
    assert has_credentials(text)


@pytest.mark.parametrize(
    "text",
    [
        "gs://bucket/shards/*.tar",
        "s3://bucket/a?.tar",
        "/data/a@b:c?token=5",
        "http://host:8080/a@b.jpg",
        "https://h/x?id=5&n=2",
        "photo@2x?key=1",
    ],
)
def test_what_is_no_credential_stays(text):
    assert redact(text) == text


@pytest.mark.parametrize("key", ["input.pattern", "output.path", "model.source", "model.class_names"])
def test_a_uri_with_credentials_is_refused_before_it_is_written_anywhere(key):
    with pytest.raises(config.ConfigError, match="carries credentials") as error:
        config.load(flags={key: "s3://KEY:s3cret@bucket/x"})
    assert key in str(error.value)
    assert "s3cret" not in str(error.value)


def test_no_message_of_the_command_line_shows_them(tmp_path, capsys):
    assert main(["run", "--input=https://h/a.tar?token=s3cret", f"--output={tmp_path}/out", "--model=demo"]) == 2
    assert main(["run", "--input=nosuch://K:s3cret@b/a.tar", f"--output={tmp_path}/out", "--set=cam.top_k=x"]) == 2
    captured = capsys.readouterr()
    assert "***" in captured.err
    assert "s3cret" not in captured.out + captured.err


def test_no_log_shows_them(capsys):
    root = logging.getLogger()
    handlers, root.handlers, level = root.handlers, [], root.level
    try:
        set_up_logging(verbose=True)
        try:
            raise OSError("https://h/a?token=s3cret")
        except OSError:
            logging.getLogger("cambeam").warning("reading %s", "s3://K:s3cret@b/x", exc_info=True)
        logged = capsys.readouterr().err
    finally:
        root.handlers = handlers
        root.setLevel(level)
    assert logged.count("***") == 3  # the message, the line that raises, the error
    assert "s3cret" not in logged


def test_an_id_with_credentials_reaches_no_row(tmp_path):
    import pyarrow as pa

    image, url = photos(1)[0].encoded, "https://h/a.jpg?X-Amz-Signature=s3cret"
    pq.write_table(pa.table({"image": [image, b"no image"], "id": [url, url]}), tmp_path / "a.parquet")
    output = tmp_path / "out"
    arguments = ["run", f"--input={tmp_path}/a.parquet", f"--output={output}", "--model=demo"]
    assert main([*arguments, "--set=failures.max_fraction=1"]) == 0
    rows = pq.read_table(output / "images").to_pylist() + pq.read_table(output / "rejects").to_pylist()
    assert [row["image_id"] for row in rows] == ["https://h/a.jpg?X-Amz-Signature=***"] * 2
    assert not [path for path in output.rglob("*") if path.is_file() and b"s3cret" in path.read_bytes()]
    assert json.loads((output / "_run.json").read_text())["read"] == 2
