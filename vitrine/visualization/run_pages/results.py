"""Results that a run's folder may hold, each with its page or files, a picture and a line of text."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple


@dataclass(frozen=True)
class Kind:
    """A kind of result.

    Args:
        title: its heading.
        text: what it is, in a line.
        page: what is opened, a pattern in the run's folder; the last of several files.
        picture: pattern of the pictures of which the first is shown; the page itself where it is a picture.
    """

    title: str
    text: str
    page: str
    picture: str = ""


KINDS = (
    Kind(
        "Report",
        "images, predictions, heatmaps and metrics",
        "report/index.html",
        "report/images/[0-9][0-9][0-9][0-9].webp",
    ),
    Kind(
        "Predictions", "overlays of all images that were predicted", "predictions/index.html", "predictions/**/01_*.png"
    ),
    Kind("Contact sheets", "the x-features of each class, to be named", "x_features/index.html", "x_features/*/*.png"),
    Kind(
        "Average images",
        "what the filters of each class respond to",
        "average_images/index.html",
        "average_images/*.png",
    ),
    Kind("Comparison", "several methods on the same images", "compare.html", "compare_images.jpg"),
    Kind("Curves", "insertion, deletion and others, mean over the images", "curves.html"),
    Kind("Panel of the test", "a few images after the test", "panels/test.png"),
    Kind("Panel of the training", "the same images as training went on, the last", "panels/epoch-*.png"),
    Kind("Masked images", "what the network still recognises", "masked/examples.png"),
    Kind("Parts", "probabilities as parts are shown", "parts/examples.png"),
)
FILES = {
    "metrics.json": "figures of the test",
    "metrics-limited.json": "figures of a test of a part of the images",
    "metrics-fit.json": "figures of the training",
    "per_image.csv": "figures of each image",
    "predictions/predictions.csv": "predictions of each image",
    "relevance.csv": "the filters that each class rests on",
    "sanity.json": "sanity check under random weights",
    "compare.csv": "the comparison as a table",
    "settings.csv": "the settings that were fitted",
    "config-fit.yaml": "configuration of the training",
    "config-test.yaml": "configuration of the test",
    "config-predict.yaml": "configuration of the prediction",
    "explainer": "the exported explainer: vitrine.load(…)",
}


class Result(NamedTuple):
    """A result that is there, with paths relative to the run's folder."""

    title: str
    text: str
    page: str
    picture: str | None


def results_of(folder: Path) -> Iterator[Result]:
    """The results of a run, and those of each of several explainers."""
    yield from _results(folder, folder, "")
    for path in sorted(folder.glob("explainers/*/")):
        yield from _results(folder, path, f"{path.name}: ")


def files_of(folder: Path) -> dict[str, str]:
    """The files of a run that are there, and what each is."""
    return {name: text for name, text in FILES.items() if (folder / name).exists()}


def _results(folder: Path, place: Path, before: str) -> Iterator[Result]:
    for kind in KINDS:
        pages = sorted(place.glob(kind.page))
        if pages:
            page = pages[-1]
            shown = page if page.suffix == ".png" else _picture(place, kind)
            picture = None if shown is None else shown.relative_to(folder).as_posix()
            yield Result(before + kind.title, kind.text, page.relative_to(folder).as_posix(), picture)


def _picture(place: Path, kind: Kind) -> Path | None:
    """The first in order of their names; any one of deep folders, which may hold many thousands."""
    if not kind.picture:
        return None
    found = place.glob(kind.picture)
    return next(found, None) if "**" in kind.picture else min(found, default=None)
