import io
import json
import warnings

import numpy as np
import PIL.Image
import pyarrow.parquet as pq
import pytest

from tests.factories import image, labelled_batch, predictions, reject
from transforms.output.schema import REJECT_SCHEMA, image_schema, image_table, reject_table
from transforms.output.settings import OutputSettings
from transforms.records import Box

CLASS_NAMES = [f"name {index}" for index in range(8)]


def table_of(batch, cams=True, **options):
    return image_table(batch, CLASS_NAMES, image_schema({"made": "by a test"}, OutputSettings(**options)), cams)


@pytest.fixture
def path(tmp_path):
    """A Parquet file of three rows, the second without a box and without a label."""
    box = Box(1.0, 2.0, 30.0, 40.0, 0.25, 0.2)
    batch = labelled_batch(3, boxes=[[[box]], [[]], [[box, box]]])
    batch.images[1] = image(1, label=None)
    pq.write_table(table_of(batch), tmp_path / "rows.parquet", compression="zstd")
    return str(tmp_path / "rows.parquet")


def test_columns_are_the_documented_ones():
    names = "image_id shard_id uri index_in_shard width height sha256 label class_index class_name probability box"
    names = [*names.split(), "consistency", "predictions", "thumbnail"]
    assert image_schema({}, OutputSettings()).names == names
    assert image_schema({}, OutputSettings(), thumbnails=False).names == names[:-1]
    every = image_schema({}, OutputSettings(logits=True, embeddings=True, activations=True))
    assert every.names == [*names, "logits", "embedding", "activations"]


def test_rows_say_what_the_records_say():
    rows = table_of(labelled_batch(2, first=5)).to_pylist()
    assert [row["index_in_shard"] for row in rows] == [5, 6]
    row = rows[1]
    assert (row["image_id"], row["shard_id"], row["uri"]) == ("000006", "a-00000000", "/data/a.tar#000006.jpg")
    assert (row["width"], row["height"], row["sha256"], row["label"]) == (100, 50, f"{6:064x}", 6)
    assert (row["class_index"], row["class_name"], row["probability"]) == (6, "name 6", 0.5)  # the fake's image 6
    assert row["box"] == {"x0": 1.0, "y0": 2.0, "x1": 30.0, "y1": 40.0, "score": 0.25}
    (prediction,) = row["predictions"]
    assert (prediction["class_name"], prediction["rank"]) == ("name 6", 0)
    assert (prediction["cam_height"], prediction["cam_width"], len(prediction["cam"])) == (7, 7, 49)
    assert prediction["boxes"] == [row["box"] | {"area_frac": pytest.approx(0.2)}]


def test_consistency_is_null_where_maps_are_not_averaged():
    assert table_of(labelled_batch(2))["consistency"].to_pylist() == [None, None]
    assert table_of(labelled_batch(3, consistency=[0.5, None, 1.0]))["consistency"].to_pylist() == [0.5, None, 1.0]


def test_maps_are_row_major():
    cams = np.arange(6, dtype=np.float32).reshape(1, 1, 2, 3)
    (row,) = table_of(labelled_batch(1, predictions=predictions(1, cams=cams))).to_pylist()
    (prediction,) = row["predictions"]
    assert (prediction["cam"], prediction["cam_height"], prediction["cam_width"]) == ([0, 1, 2, 3, 4, 5], 2, 3)


def test_places_that_hold_no_class_are_left_out():
    rank, present = np.array([[0, 1, 7], [0, 1, 5]], np.int32), np.array([[True, True, False], [True, True, True]])
    found = predictions(2, top_k=3, rank=rank, present=present)
    boxes = [[[Box(k, 0, k + 1, 1, 1, 1)] for k in range(3)] for _ in range(2)]
    rows = table_of(labelled_batch(2, predictions=found, boxes=boxes)).to_pylist()
    assert [[p["rank"] for p in row["predictions"]] for row in rows] == [[0, 1], [0, 1, 5]]
    assert [[p["class_index"] for p in row["predictions"]] for row in rows] == [[0, 1], [1, 2, 3]]
    assert [p["boxes"][0]["x0"] for row in rows for p in row["predictions"]] == [0, 1, 0, 1, 2]


def test_maps_may_be_left_out():
    (row,) = table_of(labelled_batch(1), cams=False).to_pylist()
    assert row["predictions"][0]["cam"] is None
    assert row["predictions"][0]["cam_height"] == 7


def test_bulky_columns_are_flat_and_row_major():
    activations = np.arange(2 * 2 * 2 * 3, dtype=np.float32).reshape(2, 2, 2, 3)
    found = predictions(2, logits=np.ones((2, 8), np.float32), embedding=np.zeros((2, 3), np.float32))
    batch = labelled_batch(2, predictions=found._replace(activations=activations))
    rows = table_of(batch, logits=True, embeddings=True, activations=True).to_pylist()
    assert rows[1]["activations"] == list(range(12, 24))
    assert rows[1]["logits"] == [1.0] * 8
    assert rows[0]["embedding"] == [0.0] * 3


def test_an_empty_batch_is_an_empty_table():
    assert table_of(labelled_batch(0)).num_rows == 0


def test_metadata_says_how_the_rows_were_made():
    metadata = image_schema({"made": "by a test"}, OutputSettings()).metadata
    assert json.loads(metadata[b"cambeam"]) == {"schema_version": 1, "made": "by a test"}


def test_rejects():
    (row,) = reject_table([reject(3)]).to_pylist()
    assert row["index_in_shard"] == 3
    assert (row["stage"], row["error_type"], row["message"]) == ("decode", "corrupt", "broken")
    assert reject_table([]).schema == REJECT_SCHEMA


def check_thumbnail(content):
    assert PIL.Image.open(io.BytesIO(content)).size == (16, 16)


def test_opens_with_pandas(path):
    import pandas

    frame = pandas.read_parquet(path)
    assert frame["class_name"].tolist() == ["name 0", "name 1", "name 2"]
    assert frame["box"][1] is None
    assert frame["box"][0]["x1"] == 30.0
    assert frame["label"].isna().tolist() == [False, True, False]
    check_thumbnail(frame["thumbnail"][0]["bytes"])
    assert [len(boxes) for boxes in (row[0]["boxes"] for row in frame["predictions"])] == [1, 0, 2]


def test_opens_with_duckdb(path):
    import duckdb

    with duckdb.connect() as connection:
        query = (
            "select image_id, p.class_name, len(p.boxes), box.x1, len(p.cam) "
            f"from (select image_id, box, unnest(predictions) as p from '{path}') order by image_id"
        )
        assert connection.execute(query).fetchall() == [
            ("000000", "name 0", 1, 30.0, 49),
            ("000001", "name 1", 0, None, 49),
            ("000002", "name 2", 2, 30.0, 49),
        ]
        ((content,),) = connection.execute(f"select thumbnail.bytes from '{path}' limit 1").fetchall()
        check_thumbnail(content)


def test_opens_with_hugging_face_datasets_which_shows_the_thumbnail(path, tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of its own making
        import datasets

        opened = datasets.load_dataset("parquet", data_files=path, split="train", cache_dir=str(tmp_path / "cache"))
        first, second, _ = opened
    assert isinstance(first["thumbnail"], PIL.Image.Image)
    assert first["thumbnail"].size == (16, 16)
    assert first["box"]["x1"] == 30.0
    assert second["box"] is None
    assert second["label"] is None
    assert len(first["predictions"][0]["cam"]) == 49
