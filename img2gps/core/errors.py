"""Exceptions that end a run, or any command, with one line."""


class BadInput(Exception):
    """Input that cannot be used. Its message is one line: what is wrong, why, and the remedy.

    Commands print the line without a traceback and exit with status 2.
    """


class GpuFull(BadInput):
    """A GPU has too little memory for a run, perhaps only because other programs use it, too."""


class ProcessLost(Exception):
    """A process of a run on several devices was killed. The run can go on from its checkpoint."""
