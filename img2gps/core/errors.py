"""The one exception that means "the user's input, not our code"."""


class BadInput(Exception):
    """Input that cannot be used; the message is one line: what, why, and the remedy.

    Commands print it without a traceback and exit with status 2.
    """
