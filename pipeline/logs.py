"""Logs of Beam, TensorFlow and cambeam: where they go, and that they are silent where nobody has asked for them."""

import logging
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

from transforms.store.credentials import redact

_TALKATIVE = ("apache_beam", "absl", "tensorflow", "h5py", "root")
_QUIET = {"TF_CPP_MIN_LOG_LEVEL": "3", "GRPC_VERBOSITY": "NONE"}  # read by libraries when they start


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
    root = logging.getLogger()
    if root.handlers:
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
            root.handlers.clear()  # those of libraries
            for logger, level in zip(loggers, levels, strict=True):
                logger.setLevel(level)
            for name in added:
                os.environ.pop(name, None)
