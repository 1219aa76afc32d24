"""What goes wrong for a user: what can't be done as it was asked, and runs that fail."""


class UserError(ValueError):
    """What was asked for can't be done as it was asked; the message is one line: what, the value, and the way out.

    The command line prints the message and ends with exit code 2. Any other `ValueError` is a mistake of cambeam's own.
    """


class RunError(RuntimeError):
    """A run that failed; what it has committed stays. The message is for the user and says how to go on."""


class BrokenChainError(RuntimeError):
    """The batches of a shard did not arrive in order within one bundle."""

    @classmethod
    def about(cls, what: str) -> "BrokenChainError":
        """Returns the error that says what was seen, and what is likely to have caused it."""
        return cls(
            f"{what}. The batches of a shard must reach WriteShard in order and within one bundle: something between "
            "ReadShard and WriteShard (a Reshuffle, GroupByKey, Flatten, side input or resource hint) has broken the "
            "chain."
        )
