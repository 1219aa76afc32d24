"""`cambeam evaluate`: how often class and place are right, printed and as files."""

import dataclasses
import io
import json
import os

import rich.console

from pipeline.console import say
from pipeline.evaluate.curve import CURVE_FILE, draw_curve
from pipeline.evaluate.evaluation import EvaluateFlags, Evaluation, evaluate_output
from pipeline.evaluate.tables import markdown, notes, write_text
from pipeline.exit_code import ExitCode

_MOST_ROWS_PRINTED = 101  # a curve at steps of 0.01, but not a thousand classes
_TEXT_WIDTH = 120


def evaluate(flags: EvaluateFlags, console: rich.console.Console) -> ExitCode:
    """Evaluates a run, prints the result, and writes it as files where asked.

    Raises:
      UserError: see `evaluate_output`.
    """
    result = evaluate_output(flags, console)
    for note in notes(result):
        say(console, note)
    write_text(result, rich.console.Console(markup=False), _MOST_ROWS_PRINTED)
    if flags.output:
        write_files(result, flags.output)
        say(console, f"written to {flags.output}")
    return ExitCode.DONE


def write_files(result: Evaluation, folder: str) -> None:
    """Writes the result as text, Markdown and JSON, and the curve if there is one."""
    os.makedirs(folder, exist_ok=True)
    text = io.StringIO()
    console = rich.console.Console(file=text, width=_TEXT_WIDTH, markup=False)
    for note in notes(result):
        say(console, note)
    write_text(result, console)
    contents = {
        "evaluation.txt": text.getvalue(),
        "evaluation.md": markdown(result),
        "evaluation.json": json.dumps(dataclasses.asdict(result), indent=1, ensure_ascii=False) + "\n",
    }
    for name, content in contents.items():
        with open(os.path.join(folder, name), "w", encoding="utf-8") as file:
            file.write(content)
    if result.curve:
        draw_curve(result, os.path.join(folder, CURVE_FILE))
