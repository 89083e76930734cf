"""Exit codes of command lines: a user's errors and Ctrl-C are one sentence on the error stream."""

import sys
from collections.abc import Callable

PROBLEMS, USER_ERROR, INTERRUPTED = 1, 2, 130


def exit_code_of(command: Callable[[], int], *, interrupted: str = "Interrupted.") -> int:
    """Runs a command and returns its exit code.

    Args:
        command: returns 0, or ``PROBLEMS`` where it found what it was asked to look for.
        interrupted: what is told after Ctrl-C.

    Returns:
        The command's own code; ``USER_ERROR`` after a ValueError or an OSError, whose message is written; ``INTERRUPTED``
        after Ctrl-C.

    Example:
        >>> exit_code_of(lambda: 0)
        0
    """
    try:
        return command()
    except (ValueError, OSError) as error:
        sys.stderr.write(f"{error}\n")
        return USER_ERROR
    except KeyboardInterrupt:
        sys.stderr.write(f"{interrupted}\n")
        return INTERRUPTED
