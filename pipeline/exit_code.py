"""What a command ends with."""

from enum import IntEnum


class ExitCode(IntEnum):
    """What a command ends with; the first four are part of the command line's contract."""

    DONE = 0
    FAILED = 1
    USAGE = 2
    TOO_MANY_REJECTED = 3
    INTERRUPTED = 130
    TERMINATED = 143
