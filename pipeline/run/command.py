"""`cambeam run`: labels, and says what came of it."""

from collections.abc import Sequence
from typing import Any

import rich.console

from pipeline.config import Config
from pipeline.console import say
from pipeline.exit_code import ExitCode
from pipeline.run.execution import Terminated
from pipeline.run.labelling import Result, RunFlags, label
from transforms.errors import RunError

_NAMED_ERRORS = 5


def run(config: Config, beam_flags: Sequence[str], flags: RunFlags, console: rich.console.Console) -> ExitCode:
    """Labels a collection, and prints progress and totals.

    Raises:
      UserError: the input, the model or an option can't be used; the output is as it was.
    """
    try:
        result = label(config, beam_flags, flags, console)
    except KeyboardInterrupt as interrupt:
        if str(interrupt):  # else it came before the run had begun
            say(console, str(interrupt))
        return ExitCode.TERMINATED if isinstance(interrupt, Terminated) else ExitCode.INTERRUPTED
    except RunError as error:
        say(console, str(error))
        return ExitCode.FAILED
    return ExitCode.DONE if result.totals is None else _summarize(result, result.totals, console)


def _summarize(result: Result, totals: dict[str, Any], console: rich.console.Console) -> ExitCode:
    """Prints the last lines, and tells the exit code: what was rejected may be too much."""
    images, seconds = result.images, result.seconds
    speed = f" in {seconds:.1f} s ({images / seconds:.1f} images/s)" if images else ""
    say(console, f"{images} images labelled{speed}")
    say(console, f"total: {totals['written']} images, {totals['rejected']} rejected, {totals['shards']} shards")
    by_count = sorted(totals["rejects_by_type"].items(), key=lambda item: (-item[1], item[0]))
    for error_type, count in by_count[:_NAMED_ERRORS]:
        say(console, f"  {count} {error_type}")
    if totals.get("ignored"):
        say(console, f"{totals['ignored']} members of shards are neither images nor labels, and were passed over")
    if not totals["read"]:
        say(console, f"No image was found in the {totals['shards']} shards of the input: is it the right one?")
    say(console, f"output: {result.job.layout.root}")
    if not result.excess:
        return ExitCode.DONE
    say(console, result.excess)
    return ExitCode.TOO_MANY_REJECTED
