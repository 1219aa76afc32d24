"""What a command shows a person: messages, and progress on a terminal."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import rich.console
import rich.progress

Advance = Callable[[int], None]  # told how many more are done
Begin = Callable[[str, int], Advance]  # told the name of a step, and how many it has to do


def say(console: rich.console.Console | None, text: str) -> None:
    """Prints a message as it is, in one line however long; without a console, nothing."""
    if console:
        console.print(text, markup=False, highlight=False, emoji=False, soft_wrap=True)


@contextmanager
def progress(console: rich.console.Console | None) -> Iterator[Begin]:
    """Shows the steps of a command on a terminal, elsewhere nothing; yields the function that begins a step."""
    shown = console if console and console.is_terminal else None
    columns = (*rich.progress.Progress.get_default_columns(), rich.progress.MofNCompleteColumn())
    with rich.progress.Progress(*columns, console=shown, transient=True, disable=shown is None) as bar:

        def begin(name: str, total: int) -> Advance:
            task = bar.add_task(name, total=total)
            return lambda done: bar.advance(task, done)

        yield begin
