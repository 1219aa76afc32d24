"""The command line. Imports neither Beam nor TensorFlow before a command needs them."""

import argparse
import dataclasses
import os
import sys
from collections.abc import Sequence
from typing import Any

from pipeline import __version__
from pipeline.exit_code import ExitCode
from pipeline.export.formats.registry import FORMATS
from transforms.errors import UserError
from transforms.store.credentials import redact

_DESCRIPTION = "Labels every image of a collection with what a classifier sees and where it sees it."
_RUN_EPILOG = "Options that cambeam does not know go to Beam unchanged, e.g. --runner=DataflowRunner --project=..."


def main(argv: Sequence[str] | None = None) -> ExitCode:
    """Runs a command; returns what it ends with."""
    parser = _parser()
    arguments, rest = parser.parse_known_args(argv)
    if rest and arguments.command != "run":
        parser.error(f"unknown option {rest[0]}")
    import rich.console

    from pipeline.logs import set_up_logging

    set_up_logging(arguments.verbose)
    console = rich.console.Console(file=sys.stderr)
    try:
        return arguments.run(arguments, rest, console)
    except KeyboardInterrupt:
        return ExitCode.INTERRUPTED
    except Exception as error:
        if arguments.verbose:
            raise
        text = f"cambeam: {redact(_explain(error))}"
        console.print(text, style="red", markup=False, highlight=False, soft_wrap=True)
        return ExitCode.USAGE if isinstance(error, UserError) else ExitCode.FAILED


def _explain(error: Exception) -> str:
    """Returns one line for an error: what the user, the disk or a store did says it itself."""
    if isinstance(error, UserError | OSError):
        return str(error)
    reason = " ".join(f"{type(error).__name__}: {error}".split())
    return f"{reason}. This is a mistake in cambeam: please report it with what the same command with --verbose prints"


def console_main() -> None:
    """Entry point of the `cambeam` script."""
    code = main()
    sys.stdout.flush()
    sys.stderr.flush()
    if code:
        os._exit(code)  # threads of a run that failed or was stopped must not keep the process
    sys.exit(code)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="cambeam", description=_DESCRIPTION, allow_abbrev=False)
    parser.add_argument("--version", action="version", version=f"cambeam {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("--verbose", action="store_true", help="show the logs of Beam and TensorFlow, and tracebacks")
    configured = argparse.ArgumentParser(add_help=False)
    configured.add_argument("--config", metavar="FILE", help="a YAML file, see configs/")
    configured.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="e.g. cam.top_k=5")

    def add(name: str, help_text: str, run, parents=(), **kwargs) -> argparse.ArgumentParser:
        command = commands.add_parser(
            name, help=help_text, description=help_text, parents=[*parents, common], allow_abbrev=False, **kwargs
        )
        command.set_defaults(run=run)
        return command

    run = add("run", "Labels the images of shards or folders.", _run, [configured], epilog=_RUN_EPILOG)
    run.add_argument("--input", action="append", metavar="PATTERN", help="a shard, a folder or a glob; repeatable")
    run.add_argument("--output", metavar="DIR", help="where the Parquet goes; local, gs:// or s3://")
    run.add_argument("--model", metavar="MODEL", help="demo, imagenet, PATH.keras or a SavedModel's folder")
    run.add_argument("--overwrite", action="store_true", help="replace rows that were made with other settings")
    run.add_argument("--retry-failed", action="store_true", help="do the shards again that have rejects")

    demo = add("demo", "Labels 64 generated scenes with the built-in model.", _demo)
    demo.add_argument("--output", metavar="DIR", default="demo-output", help="default: %(default)s")

    evaluate = add("evaluate", "Compares the rows of a run with true boxes.", _evaluate)
    evaluate.add_argument("--predictions", metavar="DIR", required=True, help="the output of a run")
    evaluate.add_argument("--truth", metavar="FILE", required=True, help="true boxes: CSV or COCO JSON")
    evaluate.add_argument("--output", metavar="DIR", help="write text, Markdown, JSON and the curve there")
    evaluate.add_argument("--maps", metavar="DIR", help="write 224x224 maps there, for the MaxBoxAcc reference scorer")
    evaluate.add_argument("--tune", action="store_true", help="find the best threshold and normalization")
    evaluate.add_argument(
        "--normalization",
        default="minmax",
        metavar="NAME",
        help="minmax, max, pas or ivr:PERCENTILE; default: %(default)s",
    )
    evaluate.add_argument(
        "--step", type=float, default=0.05, metavar="FRAC", help="between thresholds; default: %(default)s"
    )

    report = add("report", "Writes a page about an output that opens from disk.", _report)
    report.add_argument("--predictions", metavar="DIR", required=True, help="the output of a run")
    report.add_argument(
        "--output", metavar="DIR", required=True, help="a folder for the report; index.html is its page"
    )
    report.add_argument("--compare", metavar="OTHER", help="the output of another model over the same images")
    report.add_argument(
        "--gallery-images",
        type=int,
        default=100_000,
        metavar="N",
        help="of more images the gallery shows a sample; default: %(default)s",
    )

    _add_export(add("export", "Writes the boxes of a run in a format that detectors are trained from.", _export))

    inspect = add("inspect", "Describes a model, or an output folder.", _inspect, [configured])
    what = inspect.add_mutually_exclusive_group(required=True)
    what.add_argument("--model", metavar="MODEL", help="demo, imagenet, PATH.keras or a SavedModel's folder")
    what.add_argument("--predictions", metavar="DIR", help="the output of a run")
    return parser


def _add_export(export: argparse.ArgumentParser) -> None:
    export.add_argument("--predictions", required=True, metavar="OUT", help="the output of a run")
    export.add_argument("--format", required=True, choices=FORMATS)
    export.add_argument("--output", required=True, metavar="DIR", help="a new local folder")
    number: dict[str, Any] = {"type": float, "metavar": "X"}
    export.add_argument(
        "--min-probability", **number, help="takes every class that reaches it; default: an image's most probable class"
    )
    export.add_argument("--min-box-score", **number, default=0.0, help="of a box; default: %(default)s")
    export.add_argument("--min-consistency", **number, help="of an image")
    export.add_argument(
        "--classes",
        nargs="+",
        metavar="CLASS",
        help="names or indices, or a YAML file: a list, or model class: my class",
    )
    export.add_argument("--top-per-class", type=int, metavar="N", help="at most N boxes of a class, the best by score")
    export.add_argument("--validation-fraction", **number, default=0.0, help="of the images, by their hash")
    export.add_argument("--keep-empty", action="store_true", help="take images too of which no box is taken")
    export.add_argument("--images", choices=["none", "copy", "link"], help="put the images beside their labels")
    export.add_argument("--confidence", action="store_true", help="YOLO: add the score to each line")


def _run(arguments, beam_flags, console) -> ExitCode:
    from pipeline import config
    from pipeline.run.command import run
    from pipeline.run.labelling import RunFlags

    flags = {
        "input.pattern": arguments.input,
        "output.path": arguments.output,
        "model.source": arguments.model,
    }
    settings = config.load(arguments.config, arguments.set, flags)
    return run(settings, beam_flags, RunFlags(arguments.overwrite, arguments.retry_failed), console)


def _demo(arguments, _, console) -> ExitCode:
    from pipeline.demo.command import demo

    return demo(arguments.output, console)


def _evaluate(arguments, _, console) -> ExitCode:
    from pipeline.evaluate.command import evaluate
    from pipeline.evaluate.evaluation import EvaluateFlags

    flags = {field.name: getattr(arguments, field.name) for field in dataclasses.fields(EvaluateFlags)}
    return evaluate(EvaluateFlags(**flags), console)


def _report(arguments, _, console) -> ExitCode:
    from pipeline.report.command import report

    return report(arguments.predictions, arguments.output, arguments.compare, arguments.gallery_images, console)


def _export(arguments, _, console) -> ExitCode:
    from pipeline.export.command import ExportFlags, export
    from pipeline.export.selection import Selection

    selection = Selection(**{name: getattr(arguments, name) for name in Selection.__dataclass_fields__})
    names = ("predictions", "format", "output", "classes", "images", "confidence")
    return export(ExportFlags(**{name: getattr(arguments, name) for name in names}, selection=selection), console)


def _inspect(arguments, _, console) -> ExitCode:
    from pipeline import config
    from pipeline.inspect.command import inspect_model, inspect_output

    if arguments.predictions:
        return inspect_output(arguments.predictions)
    return inspect_model(config.load(arguments.config, arguments.set, {"model.source": arguments.model}))
