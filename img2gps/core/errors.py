"""The exception for input that cannot be used."""


class BadInput(Exception):
    """Input that cannot be used. Its message is one line: what is wrong, why, and the remedy.

    Commands print the line without a traceback and exit with status 2.
    """
