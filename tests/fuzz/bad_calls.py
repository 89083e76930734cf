"""Bad calls and what becomes of them: refused by one sentence, or a fault."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.helpers.time_limits import time_limit

SECONDS = 30
"""What a bad call may take; longer is a hang."""

REFUSALS = (ValueError, TypeError, FileNotFoundError, FileExistsError, NotADirectoryError, IsADirectoryError)


def fault_of(call: Callable[[], Any]) -> str | None:
    """What is wrong with how a bad call ends; None where it is refused by one sentence."""
    try:
        with time_limit(SECONDS):
            result = call()
    except REFUSALS as error:
        return _fault_of_sentence(error)
    except TimeoutError:
        return "hangs"
    except BaseException as error:  # noqa: BLE001 - whatever else a user would see as a traceback
        return f"{type(error).__name__}: {str(error)[:200]}"
    return f"accepted: {str(result)[:100]}"


def _fault_of_sentence(error: Exception) -> str | None:
    text = str(error)
    if "\n" in text.strip() or not 15 <= len(text) <= 700:
        return f"not one sentence: {type(error).__name__}: {text[:300]}"
    return None


def files_under(folder: Path) -> dict[str, bytes]:
    """All files of a folder by relative path, to see that a bad call wrote none and changed none."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}
