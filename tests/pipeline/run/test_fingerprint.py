from typing import Annotated

from pipeline.config import Config, load
from pipeline.run import fingerprint as settings
from transforms.cam.settings import CamSettings
from transforms.settings import Added


def row_settings(*changes, model="m", names=("a", "b")):
    return settings.row_settings(load(None, changes), model, list(names))


def test_what_changes_no_row_changes_no_fingerprint():
    expected = settings.fingerprint(row_settings())
    for change in ("output.path=x", "input.pattern=x", "model.batch_size=7", "model.precision=float32"):
        assert settings.fingerprint(row_settings(change)) == expected
    assert settings.fingerprint(row_settings("failures.max_fraction=0.5", "model.source=elsewhere.keras")) == expected


def test_what_changes_rows_changes_the_fingerprint():
    changes = ["cam.top_k=2", "boxes.threshold_frac=0.3", "thumbnails.quality=5", "model.resize=center_crop"]
    changes += ["model.preprocess=torch", "output.cams=false", "input.label_field=x", "output.compression=gzip"]
    found = {settings.fingerprint(row_settings(change)) for change in changes}
    found |= {settings.fingerprint(row_settings(model="other")), settings.fingerprint(row_settings(names=("a", "c")))}
    assert len(found | {settings.fingerprint(row_settings())}) == len(changes) + 3


def test_differences_name_key_and_values():
    old, new = row_settings(), row_settings("cam.top_k=2", model="other")
    assert settings.differences(old, new) == ["cam.top_k: 1 -> 2", "model: m -> other"]
    assert settings.differences(old, old) == []


class _Cam(CamSettings):
    blur: Annotated[int, Added()] = 0


class _Config(Config):
    cam: _Cam = _Cam()


def test_a_key_that_earlier_versions_did_not_have_is_left_out_at_its_default():
    old = row_settings()
    neutral, changed = (settings.row_settings(_Config(cam=_Cam(blur=blur)), "m", ["a", "b"]) for blur in (0, 3))
    assert neutral == old
    assert settings.differences(old, changed) == ["cam.blur: None -> 3"]
