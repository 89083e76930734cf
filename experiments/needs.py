"""Data sets and weights that experiments need: whether they are there, and what to get where they are not."""

from functools import cache
from pathlib import Path

from omegaconf import OmegaConf

from experiments.planning import Places
from experiments.schema import Experiment

SOURCES = Path(__file__).parent / "sources.yaml"


def check_needs(experiment: Experiment, places: Places) -> None:
    """Checks that all data of an experiment are there; a tiny set stands in for folders, and no weights are needed for it.

    Raises:
        FileNotFoundError: names the first that is not there, what to get and where it goes.
    """
    for place in lacking(experiment, places):
        path = places.data / place
        source = sources().get(place) or sources().get(place.split("/")[0]) or f"what {experiment.path} reads there"
        raise FileNotFoundError(
            f"{path} does not exist; get {source}, put it there, or give the folder above it as --data."
        )


def lacking(experiment: Experiment, places: Places) -> list[str]:
    """What an experiment needs below ``--data`` and is not there."""
    needed = [place for place in experiment.data.values() if not (places.tiny and Path(place).suffix)]
    return [place for place in needed if not (places.data / place).exists()]


@cache
def sources() -> dict[str, str]:
    """Where what experiments need comes from, by its place below ``--data``."""
    return {str(place): str(source) for place, source in OmegaConf.load(SOURCES).items()}
