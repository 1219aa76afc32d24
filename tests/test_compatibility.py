"""Outputs of earlier versions go on: what is done stays done, and every command reads it."""

import os
import pathlib
import shutil

import pytest

from pipeline import cli
from transforms.output.layout import Layout

OUTPUTS = pathlib.Path(__file__).parent / "outputs"
WRITTEN_AT = "/data/cambeam-{version}"  # where the outputs lay when they were made
INPUT_TIME = 1_700_000_000  # of every input file: a part of the shards' versions
SETTINGS = {
    "defaults": [],
    "settings": [
        "cam.top_k=3",
        "cam.flip=true",
        "cam.include_label=true",
        "cam.refine=affinity",
        "cam.weights=signed",
        "boxes.components=all",
        "boxes.normalization=ivr",
        "thumbnails.side_px=96",
        "output.logits=true",
        "output.embeddings=true",
        "input.images_per_shard=2",
        "model.precision=float32",
        "model.resize=center_crop",
    ],
}


@pytest.fixture(params=sorted(path.name for path in OUTPUTS.iterdir()))
def earlier(request, tmp_path) -> pathlib.Path:
    """The input and the outputs of an earlier version, as if they had been made in this folder."""
    for source in (OUTPUTS / request.param).rglob("*"):
        copy = tmp_path / source.relative_to(OUTPUTS / request.param)
        if source.is_dir():
            copy.mkdir(exist_ok=True)
        elif source.suffix in (".json", ".jsonl"):
            written_at = WRITTEN_AT.format(version=request.param)
            copy.parent.mkdir(parents=True, exist_ok=True)
            copy.write_text(source.read_text().replace(written_at, str(tmp_path)))
        else:
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(source, copy)
            os.utime(copy, (INPUT_TIME, INPUT_TIME))
    return tmp_path


@pytest.mark.parametrize("name", SETTINGS)
def test_the_same_command_redoes_nothing(earlier, name, capsys):
    output = earlier / name
    markers = {path: path.read_bytes() for path in _markers(output)}
    settings = [argument for setting in SETTINGS[name] for argument in ("--set", setting)]
    inputs = ["--input", str(earlier / "input" / "*.tar"), "--input", str(earlier / "input" / "more")]
    command = ["run", *inputs, "--output", str(output), "--model", "demo", "--set", "failures.max_fraction=0.5"]
    assert cli.main([*command, *settings]) == 0
    assert "0 images labelled" in capsys.readouterr().err
    assert {path: path.read_bytes() for path in _markers(output)} == markers


def _markers(output):
    return sorted(pathlib.Path(Layout(str(output)).marker_folder).glob("*.json"))
