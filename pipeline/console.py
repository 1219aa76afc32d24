"""What people see: messages, progress on a terminal, and logs only where they are asked for."""

import logging
import os
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import rich.console
import rich.progress

from transforms.store.credentials import redact

_TALKATIVE = ("apache_beam", "absl", "tensorflow", "h5py", "root")
_QUIET = {"TF_CPP_MIN_LOG_LEVEL": "3", "GRPC_VERBOSITY": "NONE"}  # read by libraries when they start

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


class _RedactingFormatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        return redact(super().format(record))


def set_up_logging(verbose: bool) -> None:
    """Sets up the logs of a command: everything, or only what people must know."""
    handler = logging.StreamHandler()
    handler.setFormatter(_RedactingFormatter("%(levelname)s %(name)s: %(message)s"))
    logging.basicConfig(handlers=[handler], level=logging.INFO if verbose else logging.ERROR)
    logging.getLogger("cambeam").setLevel(logging.DEBUG if verbose else logging.WARNING)
    if not verbose:
        for name, value in _QUIET.items():
            os.environ.setdefault(name, value)
        warnings.simplefilter("ignore")
        for name in _TALKATIVE:
            logging.getLogger(name).setLevel(logging.CRITICAL)


@contextmanager
def quiet() -> Iterator[None]:
    """Keeps Beam and TensorFlow from writing to the console of a program that has not set up logging of its own."""
    if logging.getLogger().handlers:
        yield
        return
    loggers = [logging.getLogger(name) for name in (*_TALKATIVE, "cambeam")]
    levels = [logger.level for logger in loggers]
    added = [name for name in _QUIET if name not in os.environ]
    os.environ.update({name: _QUIET[name] for name in added})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for logger in loggers:
            logger.setLevel(logging.CRITICAL)
        try:
            yield
        finally:
            for logger, level in zip(loggers, levels, strict=True):
                logger.setLevel(level)
            for name in added:
                os.environ.pop(name, None)
