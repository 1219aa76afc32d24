"""Runs that read from and write to stores: emulators of S3 and Google Cloud Storage, behind a proxy that fails."""

import contextlib
import errno
import io
import pathlib
import time

import pyarrow as pa
import pyarrow.dataset
import pyarrow.parquet as pq
import pytest

from pipeline import cli
from pipeline.rows.output import open_parquet
from pipeline.run import beam_options
from tests.factories import jpeg, shard, tiny_model, write_samples, write_tar
from tests.faults.flaky_proxy import flaky_proxy
from transforms.read.fields import Fields
from transforms.read.formats.registry import FORMATS
from transforms.records import ErrorType
from transforms.store import files as store
from transforms.store import retries

FAILURES = 0.05


class RefusedError(Exception):
    """An answer of a store, as Google Cloud Storage gives it: not an OSError, and over several lines."""

    def __init__(self, code: int):
        super().__init__(f"{code} GET https://storage/file?token=canary:\n  no")
        self.code = code


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    path = tmp_path_factory.mktemp("model") / "tiny.keras"
    tiny_model(classes=8).save(path)
    return str(path)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    write_samples(folder / "a.tar", 20)
    write_samples(folder / "b.tar", 3, first=20)
    write_tar(folder / "c.tar", [("broken.jpg", jpeg()[:100])])
    return folder


@pytest.fixture(autouse=True)
def _short_pauses(monkeypatch):
    sleep = time.sleep
    monkeypatch.setattr("time.sleep", lambda seconds: sleep(min(seconds, 0.02)))


class S3:
    scheme = "s3"

    def __init__(self, monkeypatch):
        moto_server = pytest.importorskip("moto.server")
        self._boto3 = pytest.importorskip("boto3")
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", "x")
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "x")
        monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
        self._server = moto_server.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
        self._server.start()
        _, self.port = self._server.get_host_and_port()
        self._client = self._boto3.client("s3", endpoint_url=f"http://127.0.0.1:{self.port}")
        self._client.create_bucket(Bucket="bucket")

    def options(self, port: int) -> list[str]:
        return [f"--s3_endpoint_url=http://127.0.0.1:{port}"]

    def put(self, name: str, content: bytes) -> None:
        self._client.put_object(Bucket="bucket", Key=name, Body=content)

    def get(self, prefix: str) -> dict[str, bytes]:
        listed = self._client.list_objects_v2(Bucket="bucket", Prefix=prefix).get("Contents", [])
        return {
            item["Key"]: self._client.get_object(Bucket="bucket", Key=item["Key"])["Body"].read() for item in listed
        }

    def close(self) -> None:
        self._server.stop()


class Gcs:
    scheme = "gs"

    def __init__(self, monkeypatch):
        server = pytest.importorskip("gcp_storage_emulator.server")
        storage = pytest.importorskip("google.cloud.storage")
        self._monkeypatch = monkeypatch
        self._server = server.create_server("127.0.0.1", 0, in_memory=True, default_bucket="bucket")
        self._server.start()
        self.port = self._server._api._httpd.server_address[1]
        monkeypatch.setenv("STORAGE_EMULATOR_HOST", f"http://127.0.0.1:{self.port}")
        self._bucket = storage.Client.create_anonymous_client().bucket("bucket")

    def options(self, port: int) -> list[str]:
        self._monkeypatch.setenv("STORAGE_EMULATOR_HOST", f"http://127.0.0.1:{port}")
        return ["--no_auth", "--project=test"]

    def put(self, name: str, content: bytes) -> None:
        self._bucket.blob(name).upload_from_string(content)

    def get(self, prefix: str) -> dict[str, bytes]:
        return {blob.name: blob.download_as_bytes() for blob in self._bucket.client.list_blobs("bucket", prefix=prefix)}

    def close(self) -> None:
        self._server.stop()


@pytest.fixture(params=[S3, Gcs])
def emulator(request, monkeypatch):
    with contextlib.closing(request.param(monkeypatch)) as emulator:
        yield emulator


def run(source: str, output: str, model: str, *options: str) -> int:
    words = ["run", "--input", source, "--output", output, "--model", model, "--set", "model.batch_size=4"]
    return cli.main([*words, "--set", "failures.max_fraction=0.1", *options])


def comparable(table: pa.Table) -> pa.Table:
    """Drops what names the place; sorts by the image, of which there is one of each name."""
    return table.drop_columns(["uri", "shard_id"]).replace_schema_metadata().sort_by("image_id")


def test_a_run_on_a_store_that_fails_now_and_then_equals_the_local_one(emulator, data, tiny, tmp_path, capsys):
    assert run(str(data / "*.tar"), str(tmp_path / "local"), tiny) == 0
    for path in data.iterdir():
        emulator.put(f"in/{path.name}", path.read_bytes())
    root = f"{emulator.scheme}://bucket"
    with flaky_proxy(emulator.port, FAILURES, at_least_every=7) as proxy:
        code = run(f"{root}/in/*.tar", f"{root}/out", tiny, *emulator.options(proxy.port))
        said = capsys.readouterr().err
        assert code == 0, said
        assert sum(proxy.failures.values()) >= 3
        assert run(f"{root}/in/*.tar", f"{root}/out", tiny, *emulator.options(proxy.port)) == 0
        assert "3 of 3 shards are done already" in capsys.readouterr().err
        proxy.stop_failing()
        files = emulator.get("out/")
    assert "out/_SUCCESS" in files
    assert not [name for name in files if "/_tmp/" in name]
    images = pa.concat_tables(
        pq.read_table(io.BytesIO(files[name])) for name in files if name.startswith("out/images/")
    )
    local = pyarrow.dataset.dataset(tmp_path / "local" / "images").to_table()
    assert comparable(images).equals(comparable(local))
    assert len([name for name in files if name.startswith("out/rejects/")]) == 1


def test_problems_of_a_store_are_one_line_before_the_run(emulator, tiny, capsys):
    root, options = f"{emulator.scheme}://bucket", emulator.options(emulator.port)
    assert run(f"{root}/nothing/*.tar", f"{root}/out", tiny, *options) == 2
    assert "no file matches the input" in capsys.readouterr().err
    assert run(f"{emulator.scheme}://no-such-bucket/in/*.tar", f"{root}/out", tiny, *options) == 2
    said = capsys.readouterr().err
    assert len(said.strip().splitlines()) == 1, said


def test_a_store_that_is_down_is_given_up(monkeypatch):
    asked = []
    retries.run_begins()

    def refuse(path, **_):
        asked.append(path)
        raise ConnectionError("connection refused")

    monkeypatch.setattr(store.FileSystems, "exists", refuse)
    with pytest.raises(OSError, match="ConnectionError: connection refused: 'gs://bucket/file'"):
        store.exists("gs://bucket/file")
    assert len(asked) == 6  # at 0, 0.5, 1.5, 3.5, 7.5 and 15.5 seconds


@pytest.mark.parametrize("error", [PermissionError("no"), FileNotFoundError("gone"), ValueError("bad path")])
def test_what_asking_again_does_not_mend_is_not_asked_again(monkeypatch, error):
    asked = []

    def refuse(path, **_):
        asked.append(path)
        raise error

    monkeypatch.setattr(store.FileSystems, "exists", refuse)
    with pytest.raises(type(error)):
        store.exists("gs://bucket/file")
    assert len(asked) == 1


def test_folders_on_stores_are_joined_with_slashes():
    assert store.join("s3://bucket/a", "b") == "s3://bucket/a/b"
    assert not store.is_local("s3://bucket/a")
    assert store.is_local(str(pathlib.Path("a").absolute()))


def test_a_store_that_fails_while_a_shard_is_read_is_no_damaged_shard(monkeypatch):
    def refuse(path, **_):
        raise ConnectionError("connection refused")

    monkeypatch.setattr(store.FileSystems, "open", refuse)
    with pytest.raises(OSError, match=r"ConnectionError: connection refused: .gs://bucket/a\.tar"):
        list(FORMATS["webdataset"].read(shard("gs://bucket/a.tar"), Fields()))


def test_a_disk_that_fails_makes_no_rejects(monkeypatch, tmp_path):
    (tmp_path / "a.jpg").write_bytes(jpeg())

    def fail(path):
        raise OSError(errno.EIO, "Input/output error", path)

    monkeypatch.setattr(store, "open_read", fail)
    with pytest.raises(OSError, match="Input/output error"):
        list(FORMATS["images"].read(shard(tmp_path, "images", members=("a.jpg",)), Fields()))


def test_an_image_that_is_gone_from_a_store_is_a_reject(emulator):
    beam_options.parse(emulator.options(emulator.port))
    emulator.put("in/a.jpg", jpeg())
    group = shard(f"{emulator.scheme}://bucket/in", "images", members=("a.jpg", "gone.jpg"))
    sample, gone = FORMATS["images"].read(group, Fields())
    assert sample.encoded == jpeg()
    assert gone.error_type == ErrorType.UNREADABLE
    assert gone.message.startswith("FileNotFoundError: ")


@pytest.mark.parametrize("code", [401, 403])
def test_a_store_that_refuses_makes_no_rejects(monkeypatch, code):
    def refuse(path, **_):
        raise RefusedError(code)

    monkeypatch.setattr(store.FileSystems, "open", refuse)
    with pytest.raises(PermissionError, match=str(code)):
        list(FORMATS["images"].read(shard("gs://bucket/in", "images", members=("a.jpg",)), Fields()))


def test_rows_that_are_gone_from_a_store_are_no_damaged_file(emulator):
    beam_options.parse(emulator.options(emulator.port))
    path = f"{emulator.scheme}://bucket/out/images/gone.parquet"
    with pytest.raises(FileNotFoundError, match="gone"), open_parquet(path):
        pass


def test_a_store_that_refuses_is_one_line(monkeypatch, tiny, capsys):
    def refuse(path, **_):
        raise RefusedError(403)

    monkeypatch.setattr(store.FileSystems, "exists", refuse)
    assert run("gs://bucket/in/*.tar", "gs://bucket/out", tiny) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("cambeam: [Errno 13] RefusedError: 403 GET https://storage/file?token=***")
    assert line.endswith(": 'gs://bucket/out/_plan/shards.jsonl'")


def test_what_is_interrupted_while_it_is_written_is_not_there(emulator, monkeypatch):
    beam_options.parse(emulator.options(emulator.port))
    root, content = f"{emulator.scheme}://bucket/written", bytes(3 << 20)

    def interrupt(source, file, *_):
        file.write(source.read(1 << 20))
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("transforms.store.files.shutil.copyfileobj", interrupt)
        with pytest.raises(KeyboardInterrupt):
            store.write_bytes(f"{root}/model.keras", content, f"{root}/_tmp/model")
    assert "written/model.keras" not in emulator.get("written/")
    store.write_bytes(f"{root}/model.keras", content, f"{root}/_tmp/model")
    assert emulator.get("written/") == {"written/model.keras": content}
