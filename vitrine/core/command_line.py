"""Exit codes of command lines: a user's errors and Ctrl-C are one sentence on the error stream."""

import argparse
import sys
from collections.abc import Callable, Iterable
from typing import NoReturn

PROBLEMS, USER_ERROR, INTERRUPTED = 1, 2, 130


class SentenceParser(argparse.ArgumentParser):
    """A parser whose errors are a ValueError, so that they end in one sentence."""

    def error(self, message: str) -> NoReturn:
        """Raises what is wrong, and where help is."""
        raise ValueError(f"{message}; see {self.prog} --help.")


def listed(given: Iterable[str]) -> list[str]:
    """The names of an option that takes several, by commas or by being given again.

    Example:
        >>> listed(["GradCAM, EBP", "SRAE,"])
        ['GradCAM', 'EBP', 'SRAE']
    """
    return [name.strip() for part in given for name in part.split(",") if name.strip()]


def exit_code_of(command: Callable[[], int], *, interrupted: str = "Interrupted.") -> int:
    """Runs a command and returns its exit code.

    Args:
        command: returns 0, or ``PROBLEMS`` where it found what it was asked to look for.
        interrupted: what is told after Ctrl-C.

    Returns:
        The command's own code; ``USER_ERROR`` after a ValueError, an OSError or a missing extra, whose
        message is written; ``INTERRUPTED`` after Ctrl-C.

    Example:
        >>> exit_code_of(lambda: 0)
        0
    """
    try:
        return command()
    except (ValueError, OSError, ModuleNotFoundError) as error:
        sys.stderr.write(f"{error}\n")
        return USER_ERROR
    except KeyboardInterrupt:
        sys.stderr.write(f"{interrupted}\n")
        return INTERRUPTED
