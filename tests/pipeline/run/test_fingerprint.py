from typing import Annotated

from pipeline.config import Config, load
from pipeline.run.fingerprint import differences, fingerprint, recipe_of
from transforms.cam.settings import CamSettings
from transforms.settings import Added


def recipe(*changes, model="m", names=("a", "b")):
    return recipe_of(load(None, changes), model, list(names))


def test_what_changes_no_row_changes_no_fingerprint():
    expected = fingerprint(recipe())
    for change in ("output.path=x", "input.pattern=x", "model.batch_size=7", "model.precision=float32"):
        assert fingerprint(recipe(change)) == expected
    assert fingerprint(recipe("failures.max_fraction=0.5", "model.source=elsewhere.keras")) == expected


def test_what_changes_rows_changes_the_fingerprint():
    changes = ["cam.top_k=2", "boxes.threshold_frac=0.3", "thumbnails.quality=5", "model.resize=center_crop"]
    changes += ["model.preprocess=torch", "output.cams=false", "input.label_field=x", "output.compression=gzip"]
    found = {fingerprint(recipe(change)) for change in changes}
    found |= {fingerprint(recipe(model="other")), fingerprint(recipe(names=("a", "c")))}
    assert len(found | {fingerprint(recipe())}) == len(changes) + 3


def test_differences_name_key_and_values():
    old, new = recipe(), recipe("cam.top_k=2", model="other")
    assert differences(old, new) == ["cam.top_k: 1 -> 2", "model: m -> other"]
    assert differences(old, old) == []


class _Cam(CamSettings):
    blur: Annotated[int, Added()] = 0


class _Config(Config):
    cam: _Cam = _Cam()


def test_a_key_that_earlier_versions_did_not_have_is_left_out_at_its_default():
    old = recipe()
    neutral, changed = (recipe_of(_Config(cam=_Cam(blur=blur)), "m", ["a", "b"]) for blur in (0, 3))
    assert neutral == old
    assert differences(old, changed) == ["cam.blur: None -> 3"]
