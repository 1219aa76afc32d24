"""Making a plan: which shards there are. It is kept in the output, so that a rerun cuts the input as the first did."""

import hashlib
import itertools
import os
import posixpath
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from operator import attrgetter
from typing import NamedTuple

from apache_beam.io.filesystem import FileMetadata

from transforms.output.layout import Layout
from transforms.output.plan import PlanError, input_version, read_plan, shard_paths
from transforms.read.formats.image_files import with_labels
from transforms.read.formats.registry import FORMATS, NO_INPUT, format_of_content, format_of_name
from transforms.read.samples import HEAD_BYTES
from transforms.read.settings import AUTO, InputSettings
from transforms.records import Shard
from transforms.store import files as store
from transforms.worker.threads import thread_pool

_GLOB = re.compile(r"[*?\[]")
_GROUPED = {name for name, format in FORMATS.items() if format.grouped}
_DESCRIBING = {name for name, format in FORMATS.items() if format.may_describe}


class Plan(NamedTuple):
    """The shards of a run.

    Attributes:
      shards: what this run is to have done at its end, in the order in which they were first seen.
      elsewhere: shards that the output knows and that this run's input does not have.
      changed: ids of shards whose input or format is not what it was when the plan was last written.
      ignored: files of the input that are neither shards nor images.
    """

    shards: list[Shard]
    elsewhere: list[Shard]
    changed: list[str]
    ignored: int


class _InputFile(NamedTuple):
    path: str
    root: str  # the folder that ids of image files are relative to
    format: str  # NO_INPUT for what is neither shard nor image
    metadata: FileMetadata


def make_plan(config: InputSettings, layout: Layout) -> Plan:
    """Lists the input and makes shards of it: known ones first and cut as they were, new ones after them.

    Raises:
      PlanError: nothing matches, nothing that matches is a shard or an image, or a format is set that known shards
        can't take.
    """
    old_shards = list(read_plan(layout.plan))
    files: dict[str, _InputFile] = {}
    for file in _list_input(config, layout, {shard.uri: shard.format for shard in old_shards}):
        files.setdefault(file.path, file)
    usable = {path: file for path, file in files.items() if file.format != NO_INPUT}
    if not usable:
        raise PlanError(
            f"no shard or image among the {len(files)} files of {', '.join(config.pattern)}; "
            "if their names don't tell, set input.format"
        )
    others = files.keys() - usable.keys()
    known, elsewhere, changed, planned = [], [], [], set()
    for old_shard in old_shards:
        if not any(path in usable for path in shard_paths(old_shard)):
            elsewhere.append(old_shard)
            continue
        shard = _set_format(old_shard, config.format, layout)
        shard = _measure(with_labels(shard, others, config), files)
        planned.update(shard_paths(shard))
        if (shard.version, shard.format) != (old_shard.version, old_shard.format):
            changed.append(shard.shard_id)
        known.append(shard)
    new = [file for path, file in usable.items() if path not in planned]
    groups = Counter(shard.uri for shard in [*known, *elsewhere] if shard.members)
    new_shards = [*_shard_files(new), *_image_groups(new, config.images_per_shard, groups)]
    shards = [*known, *(_measure(with_labels(shard, others, config), files) for shard in new_shards)]
    _check_ids([*shards, *elsewhere])
    labels = others.intersection(path for shard in shards for path in shard_paths(shard))
    return Plan(shards, elsewhere, changed, len(others) - len(labels))


def _set_format(shard: Shard, wanted: str, layout: Layout) -> Shard:
    """Returns a known shard with the format that is asked for, or as it is for AUTO.

    Raises:
      PlanError: a group of image files is asked for as shards, or the reverse; an image would have rows in two shards.
    """
    if wanted in (AUTO, shard.format):
        return shard
    if _GROUPED & {wanted, shard.format}:
        raise PlanError(
            f"{layout.root} has the shard {shard.shard_id} as {shard.format}: "
            f"for input.format={wanted} choose another --output"
        )
    return replace(shard, format=wanted)


def _measure(shard: Shard, files: Mapping[str, "_InputFile"]) -> Shard:
    """Returns a shard with the version and the size of those of its files that are there."""
    present = [files[path].metadata for path in shard_paths(shard) if path in files]
    return replace(shard, version=input_version(present), num_bytes=sum(found.size_in_bytes for found in present))


def _list_input(config: InputSettings, layout: Layout, known: Mapping[str, str]) -> Iterator[_InputFile]:
    """Yields the files of all patterns but what lies in the output; a file that several match belongs to the first."""
    for pattern in config.pattern:
        pattern = os.path.abspath(pattern) if store.is_local(pattern) else pattern.rstrip("/")
        try:
            root, found = _match(pattern)
            found = _outside_outputs(found, layout)
            formats = _formats([metadata.path for metadata in found], config.format, known)
        except OSError as error:
            raise PlanError(f"can't list the input {pattern!r}: {error}") from error
        if not found:
            raise PlanError(f"no file matches the input {pattern!r}")
        for metadata, format in zip(found, formats, strict=True):
            yield _InputFile(metadata.path, root, format, metadata)


def _outside_outputs(files: list[FileMetadata], layout: Layout) -> list[FileMetadata]:
    """Leaves out what lies in the output, or in an earlier output among the files: thumbnails are no input."""
    suffix = layout.plan.removeprefix(layout.root)
    roots = [layout.root, *(file.path.removesuffix(suffix) for file in files if file.path.endswith(suffix))]
    inside = tuple(f"{root}/" for root in roots)
    return [file for file in files if not file.path.startswith(inside)]


def _match(pattern: str) -> tuple[str, list[FileMetadata]]:
    """Returns the folder that ids are relative to, and the files: of a file, a glob, or all below a folder."""
    if store.is_file(pattern):
        return posixpath.dirname(pattern), [store.metadata(pattern)]
    glob = _GLOB.search(pattern)
    if glob and not store.exists(pattern):
        return posixpath.dirname(pattern[: glob.start()]), store.match(pattern)
    return pattern, store.files_below(pattern)


def _formats(paths: list[str], wanted: str, known: Mapping[str, str]) -> list[str]:
    """Returns the format of every file: by name, or by content where the name tells none; NO_INPUT for other files.

    Args:
      wanted: the format asked for, or AUTO.
      known: formats by path, from an earlier run, so that nothing is opened for them again.
    """

    def format_of(path: str) -> str:
        named = format_of_name(path)
        if wanted == AUTO:
            return known.get(path) or _format_inside(path) if named is None else named
        return NO_INPUT if named == NO_INPUT or (named in _GROUPED and wanted not in _GROUPED) else wanted

    formats = list(thread_pool("read").map(format_of, paths))
    if wanted != AUTO:
        return formats
    found = list(zip(paths, formats, strict=True))
    described = _names_of_descriptions(path for path, format in found if format not in (NO_INPUT, *_DESCRIBING))
    return [
        NO_INPUT if format in _DESCRIBING and posixpath.splitext(path)[0] in described else format
        for path, format in found
    ]


def _names_of_descriptions(paths: Iterable[str]) -> set[str]:
    """Returns what files would be called that describe these shards, or folders of images, without their ending."""
    return {name for path in paths for name in (posixpath.splitext(path)[0], posixpath.dirname(path))}


def _format_inside(path: str) -> str:
    with store.open_read(path) as file:
        return format_of_content(file.read(HEAD_BYTES))


def _shard_files(files: list[_InputFile]) -> Iterator[Shard]:
    for file in files:
        if file.format not in _GROUPED:
            name = posixpath.basename(file.path).partition(".")[0]
            yield Shard(_shard_id(name, file.path), file.path, file.format, version="", num_bytes=0)


def _image_groups(files: list[_InputFile], images_per_shard: int, groups: Counter[str]) -> Iterator[Shard]:
    """Yields virtual shards of image files, and counts them; `groups` are those that a folder has already."""
    images = sorted((file for file in files if file.format in _GROUPED), key=attrgetter("root", "format", "path"))
    for (root, format), members in itertools.groupby(images, key=attrgetter("root", "format")):
        while group := list(itertools.islice(members, images_per_shard)):
            number = groups[root]
            groups[root] += 1
            yield Shard(
                shard_id=_shard_id(f"{posixpath.basename(root)}-{number:05d}", f"{root}#{number}"),
                uri=root,
                format=format,
                version="",
                num_bytes=0,
                members=tuple(posixpath.relpath(file.path, root) for file in group),
            )


def _shard_id(name: str, uri: str) -> str:
    # what begins with "_" is hidden from readers of Parquet folders, what begins with "-" is an option to many tools
    safe = re.sub(r"[^A-Za-z0-9_-]+", "_", name)[:64].lstrip("_-") or "shard"
    # 128 bits: of the 32 that early versions took, a million shards share some; those of known shards stay as they are
    return f"{safe}-{hashlib.sha256(uri.encode(errors='surrogateescape')).hexdigest()[:32]}"


def _check_ids(shards: Sequence[Shard]) -> None:
    """Checks that no two shards would be written to one file.

    Raises:
      PlanError: two would.
    """
    uris: dict[str, str] = {}
    for shard in shards:
        if shard.shard_id in uris:
            raise PlanError(
                f"{uris[shard.shard_id]} and {shard.uri} both have the id {shard.shard_id}, and the rows of one would "
                "replace the other's: choose another --output"
            )
        uris[shard.shard_id] = shard.uri
