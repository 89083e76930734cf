"""Data sets and weights that experiments need: whether they are there, and what to get where they are not."""

import re
from collections.abc import Collection, Sequence
from functools import cache
from pathlib import Path

from omegaconf import OmegaConf

from experiments.planning import Places, Planned
from experiments.schema import Experiment

SOURCES = Path(__file__).parent / "sources.yaml"


def check_needs(
    experiment: Experiment, places: Places, planned: Sequence[Planned] = (), wanted: Collection[str] = ()
) -> None:
    """Checks that all data of an experiment are there; a tiny set stands in for folders, and no weights are needed for it.

    Data that none of the planned runs names are taken to be read by all of them, such as by their configuration files.

    Args:
        experiment: whose data.
        places: where they are.
        planned: its runs; what those read that are not wanted is not asked for.
        wanted: names of the runs to be run.

    Raises:
        FileNotFoundError: names the first that is not there, what to get and where it goes.
    """
    for place in lacking(experiment, places):
        path = places.data / place
        readers = {one.name for one in planned if _reads(one, path, places.data)}
        if readers and readers.isdisjoint(wanted):
            continue
        source = sources().get(place) or sources().get(place.split("/")[0]) or f"what {experiment.path} reads there"
        raise FileNotFoundError(
            f"{path} does not exist; get {source}, put it there, or give the folder above it as --data."
        )


def lacking(experiment: Experiment, places: Places) -> list[str]:
    """What an experiment needs below ``--data`` and is not there."""
    needed = [place for place in experiment.data.values() if not (places.tiny and Path(place).suffix)]
    return [place for place in needed if not (places.data / place).exists()]


def _reads(planned: Planned, path: Path, data: Path) -> bool:
    """Whether a run's arguments name a place, what lies in it, or a folder that it lies in."""
    pattern = re.compile(re.escape(str(data)) + r"(?:/[^\s\"',\]}:]+)?(?![\w.-])")
    named = {Path(found) for argument in planned.arguments for found in pattern.findall(argument)}
    return any(path == one or path in one.parents or one in path.parents for one in named)


@cache
def sources() -> dict[str, str]:
    """Where what experiments need comes from, by its place below ``--data``."""
    return {str(place): str(source) for place, source in OmegaConf.load(SOURCES).items()}
