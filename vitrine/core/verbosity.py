"""Verbosity: how much a run says, the same in all of its processes."""

import os
from typing import Literal

Level = Literal["quiet", "normal", "verbose"]
VARIABLE = "VITRINE_VERBOSITY"
"""Read by the ranks that a run starts."""


def set_level(*, verbose: bool, quiet: bool) -> None:
    """Says how much this run and the ranks that it starts tell; both together are the usual."""
    os.environ[VARIABLE] = "normal" if verbose == quiet else "verbose" if verbose else "quiet"


def level() -> Level:
    """How much this run tells."""
    told = os.environ.get(VARIABLE)
    return "verbose" if told == "verbose" else "quiet" if told == "quiet" else "normal"


def is_verbose() -> bool:
    """Whether it tells all: Lightning's own lines, and whole tables."""
    return level() == "verbose"


def is_quiet() -> bool:
    """Whether it tells results and warnings alone."""
    return level() == "quiet"
