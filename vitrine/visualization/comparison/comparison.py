"""A comparison of tested methods: which figures of which methods, in which order, and what is best within chance."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Annotated, Literal

from vitrine.core.figures import COUNTS, better_of, grouped_figures
from vitrine.core.near_names import near_names
from vitrine.core.options import Count, CountOrZero, Options, Range
from vitrine.visualization.comparison.tested_runs import RunRecord, read_runs
from vitrine.visualization.comparison.uncertainty import Uncertainty, uncertainty_of


@dataclass(frozen=True)
class ComparisonOptions(Options):
    """What is compared, and how intervals are computed.

    Args:
        sort: figure by which the methods are sorted, the best first; in the order of the runs without it.
        figures: patterns of the figures that are compared, such as ``iou*``; all without one.
        resamples: of the bootstrap.
        seed: of the bootstrap.
        confidence: of the intervals.
    """

    sort: str | None = None
    figures: tuple[str, ...] = ()
    resamples: Count = 2000
    seed: CountOrZero = 0
    confidence: Annotated[float, Range(above=0, below=1)] = 0.95


Mark = Literal["best", "chance", ""]
"""The best value of a figure, one whose difference to the best is within chance, or neither."""


@dataclass(frozen=True)
class Comparison:
    """Tested methods beside each other."""

    runs: Sequence[RunRecord]
    """One a method, in the order in which they are shown."""
    figures: Sequence[str]
    """Names of all figures that were chosen, in the order in which they are shown."""
    uncertainty: Uncertainty
    options: ComparisonOptions = ComparisonOptions()

    @property
    def methods(self) -> list[str]:
        """Names of the methods."""
        return [run.name for run in self.runs]

    def value(self, method: str, figure: str) -> float:
        """A method's figure; NaN where there is none."""
        return self._run(method).figures.get(figure, math.nan)

    def interval(self, method: str, figure: str) -> tuple[float, float]:
        """The bounds of a figure's confidence interval; NaN where there are none."""
        return self.uncertainty.intervals.get((figure, method), (math.nan, math.nan))

    def best(self, figure: str) -> list[str]:
        """The methods of the best value: none where nobody knows what is better, or where fewer than two values differ."""
        values = {method: self.value(method, figure) for method in self.methods}
        known = [value for value in values.values() if not math.isnan(value)]
        better = better_of(figure)
        if not better or len(set(known)) < 2:
            return []
        best = max(known) if better == "higher" else min(known)
        return [method for method, value in values.items() if value == best]

    def mark(self, method: str, figure: str) -> Mark:
        """How a value is marked, against the best."""
        best = self.best(figure)
        if method in best:
            return "best"
        differences = [self.uncertainty.difference(figure, method, other) for other in best]
        return "chance" if any(one is not None and one.within_chance for one in differences) else ""

    def groups(self) -> dict[str, list[str]]:
        """The figures that tables for reading show, by group: known ones with a value, and counts that are not zero.

        Where patterns of figures were given, all that match them.
        """
        groups = grouped_figures(self.figures)
        if self.options.figures:
            named = {name for group in groups.values() for name in group}
            groups["Further figures"] = [name for name in self.figures if name not in named]
        shown = {title: [name for name in group if self._is_shown(name)] for title, group in groups.items()}
        return {title: group for title, group in shown.items() if group}

    def notes(self) -> list[str]:
        """What a reader has to know before values are compared, a sentence each."""
        return [*_notes_on_images(self.runs), *_notes_on_classes(self.runs), *self._notes_on_intervals()]

    def _run(self, method: str) -> RunRecord:
        return next(run for run in self.runs if run.name == method)

    def _is_shown(self, figure: str) -> bool:
        values = [self.value(method, figure) for method in self.methods]
        known = [value for value in values if not math.isnan(value)]
        return any(known) if _is_count(figure) else bool(known)

    def _notes_on_intervals(self) -> list[str]:
        methods: dict[str, list[str]] = {}
        for figure, method in self.uncertainty.mismatched:
            methods.setdefault(figure, []).append(method)
        return [
            f"No intervals for {figure} of {', '.join(of_figure)}: the mean of per_image.csv is not the figure in"
            " metrics.json; if they are of different tests, run train.py test again."
            for figure, of_figure in methods.items()
        ]


def read_comparison(folders: Iterable[Path], options: ComparisonOptions = ComparisonOptions()) -> Comparison:
    """Reads the tests of runs and compares them.

    Args:
        folders: of runs that ``train.py test`` has tested; one with a folder ``explainers`` stands for all runs in that.
        options: what is compared.

    Raises:
        FileNotFoundError: for a folder without a complete test.
        ValueError: for damaged files, tests on different images, and figures that no run has.
    """
    runs = read_runs(folders)
    known = list(dict.fromkeys(name for run in runs for name in run.figures))
    figures = _ordered(_chosen(known, options.figures))
    runs = runs if options.sort is None else _sorted(runs, _known(options.sort, known))
    uncertainty = uncertainty_of(
        runs, figures, resamples=options.resamples, seed=options.seed, confidence=options.confidence
    )
    return Comparison(runs, figures, uncertainty, options)


def _chosen(known: Sequence[str], patterns: Sequence[str]) -> list[str]:
    """The figures that match one of the patterns, all without one."""
    for pattern in patterns:
        if not any(_matches(name, pattern) for name in known):
            raise _unknown("--figures", pattern, known)
    return [name for name in known if not patterns or any(_matches(name, pattern) for pattern in patterns)]


def _matches(name: str, pattern: str) -> bool:
    return fnmatchcase(name, pattern.removeprefix("test/"))


def _known(figure: str, known: Sequence[str]) -> str:
    name = figure.removeprefix("test/")
    if name not in known:
        raise _unknown("--sort", figure, known)
    return name


def _unknown(option: str, name: str, known: Sequence[str]) -> ValueError:
    near = ", ".join(near_names(name.removeprefix("test/"), known)) or "none"
    return ValueError(f"{option} {name} is no figure of these runs; they have {near}.")


def _ordered(names: Sequence[str]) -> list[str]:
    """The names in the order of their groups, and after those the rest by name."""
    grouped = [name for group in grouped_figures(sorted(names)).values() for name in group]
    first = dict.fromkeys(name for name in grouped if not _is_count(name))
    return [*first, *sorted(set(names) - set(first))]


def _is_count(figure: str) -> bool:
    return "/" in figure and figure.rpartition("/")[2] in COUNTS


def _sorted(runs: Sequence[RunRecord], figure: str) -> list[RunRecord]:
    """The runs, the best first and those without a value last; equal ones stay in their order."""
    sign = 1 if better_of(figure) == "lower" else -1

    def rank(run: RunRecord) -> tuple[bool, float]:
        value = run.figures.get(figure, math.nan)
        return (True, 0.0) if math.isnan(value) else (False, sign * value)

    return sorted(runs, key=rank)


def _notes_on_images(runs: Sequence[RunRecord]) -> list[str]:
    sets = [frozenset(run.per_image.keys) for run in runs]
    measured = [one for one in sets if one]
    without = [run.name for run, images in zip(runs, sets, strict=True) if not images]
    notes = [f"Without per-image values, and so without intervals: {', '.join(without)}."] if without else []
    if len(set(measured)) > 1:
        common = len(frozenset.intersection(*measured))
        notes.append(
            f"The runs measured different images ({min(map(len, measured))} to {max(map(len, measured))}, {common} common to"
            " all): compare them by their differences, which are over the images that both have measured."
        )
    return notes


def _notes_on_classes(runs: Sequence[RunRecord]) -> list[str]:
    explained = {run.name: run.explain for run in runs if run.explain}
    if len(set(explained.values())) < 2:
        return []
    listed = "; ".join(f"{name}: {explain}" for name, explain in explained.items())
    return [f"The runs explain different classes of an image ({listed})."]
