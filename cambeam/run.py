"""Labelling from Python, and opening what was labelled earlier."""

import os
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from cambeam.labels import Labels
from transforms.errors import RunError, UserError

if TYPE_CHECKING:  # with it comes Beam
    from pipeline.config import Config

Path = str | os.PathLike[str]


class TooManyRejectedError(RunError):
    """More images were rejected than `failures.max_fraction` allows; all others have rows.

    Attributes:
      labels: what was labelled nevertheless, and the rejects.
    """

    def __init__(self, message: str, labels: Labels) -> None:
        super().__init__(message)
        self.labels = labels


def label(
    input: Path | Iterable[Path],
    *,
    output: Path,
    model: Path | None = None,
    config: "Path | Config | None" = None,
    settings: Mapping[str, Any] | None = None,
    beam_options: Sequence[str] = (),
    overwrite: bool = False,
    retry_failed: bool = False,
    show_progress: bool = False,
) -> Labels:
    """Labels images, as the command `cambeam run` does; called again, it does what is left.

    It works on all cores, in threads of this process unless `beam_options` say otherwise, and is done when it returns.
    In one process there is one run at a time: a call from another thread waits.

    Args:
      input: a folder, a file or a glob, or several: image files or shards; local, gs:// or s3://.
      output: the folder for rows and rejects; local, gs:// or s3://.
      model: "demo", "imagenet", the path of a .keras file, or the folder of a SavedModel; by default the one that
        `config` names, else "imagenet".
      config: a configuration, or the path of its YAML file.
      settings: by "section.key", as with the option `--set`, e.g. {"cam.top_k": 3}; they beat the configuration.
      beam_options: Beam's own, e.g. ["--direct_num_workers=2"].
      overwrite: replaces rows that were made with another model or other settings.
      retry_failed: does the shards again that have rejects.
      show_progress: writes to stderr how far it is.

    Returns:
      All labels of the output.

    Raises:
      UserError: input, model, settings or options can't be used; the output is as it was.
      RunError: the run failed. What is committed stays, and the same call goes on from there.
      TooManyRejectedError: it ended, with more rejects than `failures.max_fraction` of the settings allows; by default
        one image in a hundred. The error has the labels.
      KeyboardInterrupt: it was interrupted, and has stopped. What is committed stays; the same call goes on from there.

    Example:
      labels = cambeam.label("photos", model="demo", output="labels", settings={"cam.top_k": 3})
      names = labels.arrow(["image_id", "class_name"]).to_pylist()
    """
    import rich.console

    from pipeline.config import Config, load
    from pipeline.logs import quiet
    from pipeline.run import labelling

    inputs = [input] if isinstance(input, str | os.PathLike) else input
    values: dict[str, Any] = {
        **(settings or {}),
        "input.pattern": [os.fspath(path) for path in inputs],
        "output.path": os.fspath(output),
    }
    if model is not None:
        values["model.source"] = os.fspath(model)
    chosen = load(config if isinstance(config, Config | None) else os.fspath(config), flags=values)
    flags = labelling.RunFlags(overwrite, retry_failed)
    console = rich.console.Console(stderr=True) if show_progress else None
    with quiet():
        result = labelling.label(chosen, beam_options, flags, console)
    if result.totals is None:
        raise UserError("the job was only built, as the options ask, and nothing labelled: that is for `cambeam run`")
    labels = open(output)
    if result.excess:
        raise TooManyRejectedError(result.excess, labels)
    return labels


def open(output: Path) -> Labels:
    """Opens the output of a run, which may be at work still: labels are those of the shards that are done by now.

    Args:
      output: the folder; local, gs:// or s3://.

    Raises:
      UserError: the folder is not the output of a run.

    Example:
      cambeam.open("labels").rejects().to_pylist()
    """
    from pipeline.rows.output import open_output
    from transforms.store.files import is_local

    path = os.fspath(output)
    return Labels(open_output(os.path.abspath(path) if is_local(path) else path))
