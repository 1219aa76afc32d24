"""WebDataset: tar files of the original images, each with a .json that has its class and its boxes."""

import io
import json
import os
import tarfile
from typing import Any

from pipeline.export.formats.format import Format
from pipeline.export.formats.records import ExportBox, ExportImage

_SHARD_IMAGES, _SHARD_BYTES = 10_000, 1_000_000_000  # whichever is reached first ends a tar file


class WebDatasetWriter:
    """Writes <split>-000000.tar and so on; the image's bytes are the original's."""

    def __init__(self, folder: str, classes: list[str], splits: list[str]):
        self._tars = {split: _Tars(os.path.join(folder, split)) for split in splits}

    def write(self, image: ExportImage, encoded: bytes | None) -> None:
        if encoded is None:
            raise ValueError(f"a WebDataset needs the image itself, got none for {image.uri}")
        content = json.dumps(describe(image), ensure_ascii=False).encode()
        self._tars[image.split].add({image.file_name: encoded, f"{image.name}.json": content})

    def image_path(self, image: ExportImage) -> str | None:
        return None

    def close(self) -> None:
        for tars in self._tars.values():
            tars.close()


def describe(image: ExportImage) -> dict[str, Any]:
    """Returns what the .json holds: where the image is from, its most probable exported class (or null), its boxes."""
    best = max(image.boxes, key=lambda box: box.probability, default=None)
    return {
        "image_id": image.image_id,
        "uri": image.uri,
        "width": image.width,
        "height": image.height,
        "class_index": best.class_id if best else None,
        "class_name": best.class_name if best else None,
        "boxes": [_describe_box(box) for box in image.boxes],
    }


def _describe_box(box: ExportBox) -> dict[str, Any]:
    values = box._asdict()
    return {"class_index": values.pop("class_id"), **values}


class _Tars:
    def __init__(self, prefix: str):
        self._prefix, self._number = prefix, 0
        self._open()

    def _open(self) -> None:
        self._tar = tarfile.open(f"{self._prefix}-{self._number:06d}.tar", "w")
        self._images = 0

    def add(self, members: dict[str, bytes]) -> None:
        if self._images >= _SHARD_IMAGES or self._tar.offset >= _SHARD_BYTES:
            self._tar.close()
            self._number += 1
            self._open()
        for name, content in members.items():
            member = tarfile.TarInfo(name)  # of the year 1970: the same input gives the same bytes
            member.size = len(content)
            self._tar.addfile(member, io.BytesIO(content))
        self._tar.members = []  # type: ignore[attr-defined]  # tarfile would remember every member
        self._images += 1

    def close(self) -> None:
        self._tar.close()


FORMAT = Format(WebDatasetWriter, ("copy",), dotted_names=False)
