"""The plan: which shards there are. It is kept in the output, so that a rerun never cuts the input differently."""

import hashlib
import itertools
import json
import os
import posixpath
import re
from collections.abc import Iterable, Iterator
from dataclasses import asdict, replace
from typing import NamedTuple

from apache_beam.io.filesystem import BeamIOError, FileMetadata

from pipeline.config import InputConfig
from transforms import store
from transforms.layout import Layout
from transforms.records import Shard
from transforms.shards import IMAGE_EXTENSIONS

_GLOB = re.compile(r"[*?\[]")
_SHARD_SUFFIXES = {"webdataset": (".tar", ".tar.gz", ".tgz")}


class PlanError(ValueError):
    """The input can't be planned; the message is one line for the user."""


class Plan(NamedTuple):
    """The shards of a run.

    Attributes:
      shards: what this run is to have done at its end, in the order in which they were first seen.
      elsewhere: shards that the output knows and that this run's input does not have.
      changed: ids of shards whose input is not what it was when the plan was last written.
      ignored: files of the input that are neither shards nor images.
    """

    shards: list[Shard]
    elsewhere: list[Shard]
    changed: list[str]
    ignored: int


class _InputFile(NamedTuple):
    path: str
    root: str  # the folder that ids of image files are relative to
    format: str | None
    metadata: FileMetadata


def make_plan(config: InputConfig, layout: Layout) -> Plan:
    """Lists the input and makes shards of it: known ones first and cut as they were, new ones after them.

    Raises:
      PlanError: nothing matches, or nothing that matches is a shard or an image.
    """
    files = {file.path: file for file in _list_input(config)}
    usable = {path: file for path, file in files.items() if file.format}
    if not usable:
        raise PlanError(
            f"no shard or image among the {len(files)} files of {', '.join(config.pattern)}; "
            "if their names don't tell, set input.format"
        )
    known, elsewhere, changed, planned = [], [], [], set()
    for shard in read_plan(layout.plan):
        paths = [store.join(shard.uri, member) for member in shard.members] or [shard.uri]
        present = [usable[path].metadata for path in paths if path in usable]
        if not present:
            elsewhere.append(shard)
            continue
        planned.update(paths)
        if _version(present) != shard.version:
            changed.append(shard.shard_id)
        known.append(replace(shard, version=_version(present), num_bytes=sum(m.size_in_bytes for m in present)))
    new = [file for path, file in usable.items() if path not in planned]
    numbers = _count_groups([*known, *elsewhere])
    shards = [*known, *_shard_files(new), *_image_groups(new, config.images_per_shard, numbers)]
    return Plan(shards, elsewhere, changed, len(files) - len(usable))


def read_plan(path: str) -> Iterator[Shard]:
    """Yields the shards of a plan file; none where it does not exist."""
    if store.exists(path):
        for line in store.read_bytes(path).splitlines():
            values = json.loads(line)
            yield Shard(**(values | {"members": tuple(values["members"])}))


def write_plan(path: str, shards: Iterable[Shard], temporary_path: str) -> None:
    """Writes a plan file, one JSON object per shard and line."""
    lines = (json.dumps(asdict(shard), ensure_ascii=False) + "\n" for shard in shards)
    store.write_bytes(path, "".join(lines).encode(), temporary_path)


def _list_input(config: InputConfig) -> Iterator[_InputFile]:
    """Yields the files of all patterns; a file that several match belongs to the first."""
    for pattern in config.pattern:
        pattern = os.path.abspath(pattern) if store.is_local(pattern) else pattern.rstrip("/")
        try:
            root, found = _match(pattern)
        except (OSError, BeamIOError) as error:
            raise PlanError(f"can't list the input {pattern!r}: {error}") from error
        if not found:
            raise PlanError(f"no file matches the input {pattern!r}")
        for metadata in found:
            yield _InputFile(metadata.path, root, _format_of(metadata.path, config.format), metadata)


def _match(pattern: str) -> tuple[str, list[FileMetadata]]:
    """Returns the folder that ids are relative to, and the files: of a file, a glob, or all below a folder."""
    if store.is_file(pattern):
        return posixpath.dirname(pattern), [store.metadata(pattern)]
    glob = _GLOB.search(pattern)
    if glob and not store.exists(pattern):
        return posixpath.dirname(pattern[: glob.start()]), store.match(pattern)
    return pattern, store.match(store.join(pattern, "**"))


def _format_of(path: str, wanted: str) -> str | None:
    name = posixpath.basename(path).lower()
    if wanted == "images" or name.rpartition(".")[2] in IMAGE_EXTENSIONS:
        return "images" if wanted in ("auto", "images") else None
    if wanted != "auto":
        return wanted
    return next((format for format, suffixes in _SHARD_SUFFIXES.items() if name.endswith(suffixes)), None)


def _shard_files(files: list[_InputFile]) -> Iterator[Shard]:
    for file in files:
        if file.format and file.format != "images":
            name = posixpath.basename(file.path).partition(".")[0]
            shard_id = _shard_id(name, file.path)
            yield Shard(shard_id, file.path, file.format, _version([file.metadata]), file.metadata.size_in_bytes)


def _image_groups(files: list[_InputFile], images_per_shard: int, numbers: dict[str, int]) -> Iterator[Shard]:
    """Yields virtual shards of image files, numbered on from those that a folder has already."""
    images = sorted((file for file in files if file.format == "images"), key=lambda file: (file.root, file.path))
    for root, members in itertools.groupby(images, key=lambda file: file.root):
        while group := list(itertools.islice(members, images_per_shard)):
            number = numbers[root] = numbers.get(root, -1) + 1
            found = [file.metadata for file in group]
            yield Shard(
                shard_id=_shard_id(f"{posixpath.basename(root)}-{number:05d}", f"{root}#{number}"),
                uri=root,
                format="images",
                version=_version(found),
                num_bytes=sum(metadata.size_in_bytes for metadata in found),
                members=tuple(posixpath.relpath(file.path, root) for file in group),
            )


def _count_groups(shards: list[Shard]) -> dict[str, int]:
    """Returns the highest number of the virtual shards of each folder."""
    counts: dict[str, int] = {}
    for shard in shards:
        if shard.members:
            counts[shard.uri] = counts.get(shard.uri, -1) + 1
    return counts


def _shard_id(name: str, uri: str) -> str:
    safe = re.sub(r"[^A-Za-z0-9_-]+", "_", name)[:80] or "shard"
    return f"{safe}-{hashlib.sha256(uri.encode()).hexdigest()[:8]}"


def _version(files: list[FileMetadata]) -> str:
    """Returns what changes when any of the files does: size and modification time, hashed where there are several."""
    parts = [f"{file.size_in_bytes}@{file.last_updated_in_seconds:.0f}" for file in files]
    return parts[0] if len(parts) == 1 else hashlib.sha256(" ".join(parts).encode()).hexdigest()[:16]
