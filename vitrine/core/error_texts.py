"""The first line of another library's error, for a sentence of one's own."""


def first_line(error: BaseException, limit: int = 300) -> str:
    r"""The first line of an error's text without its full stop, or the name of its type where it has no text.

    Args:
        error: of another library.
        limit: the most characters.

    Example:
        >>> first_line(RuntimeError("sizes do not match.\nTraceback …")), first_line(AssertionError())
        ('sizes do not match', 'AssertionError')
    """
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return lines[0][:limit].rstrip(".")
