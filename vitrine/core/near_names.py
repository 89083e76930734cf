"""Near names: what somebody may have meant by a name that is not there."""

import difflib
from collections.abc import Iterable, Sequence


def near_names(name: str, known: Iterable[str], count: int = 5) -> list[str]:
    """The closest of the known names, the first ones where none is close; at most ``count``."""
    names = list(known)
    return difflib.get_close_matches(name, names, n=count, cutoff=0.3) or names[:count]


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """``; did you mean A or B?`` where known names are close to a name, and nothing where none is.

    Names that differ in case alone count as close where no others are.
    """
    names = list(known)
    near: Sequence[str] = difflib.get_close_matches(name, names, n=3)
    if not near:
        folded = {one.casefold(): one for one in reversed(names)}
        near = [folded[one] for one in difflib.get_close_matches(name.casefold(), folded, n=3)]
    return f"; did you mean {' or '.join(near)}?" if near else ""
