"""What a user did wrong, said so that the user can mend it."""


class UserError(ValueError):
    """What was asked for can't be done as it was asked; the message is one line: what, the value, and the way out.

    The command line prints the message and ends with exit code 2. Any other `ValueError` is a mistake of cambeam's own.
    """
