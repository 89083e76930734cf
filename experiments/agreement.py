"""Agreement of figures with the truth: Kendall's τ between the orders in which they put the tested methods.

    python -m experiments.agreement runs/experiments/flower/causal_truth/single --truth causal_truth

A figure that knows which explanation is faithful ranks methods as the truth does (τ = 1); one that knows nothing about it
has a τ about 0. Intervals are of a bootstrap over images, of which all figures see the same draws; the methods stay the same.
"""

import argparse
import math
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from experiments.run_tables import show_table, table_parser
from vitrine.core.figures import better_of, is_class_mean
from vitrine.core.options import Count, CountOrZero, checked
from vitrine.visualization.comparison.bootstrap import Rows, bootstrap_means, percentile_interval, weighted_means
from vitrine.visualization.comparison.tested_runs import RunRecord, read_runs

Floats = NDArray[np.float64]
CONFIDENCE = 0.95
FEWEST = 3
"""Methods that a figure has to have measured; two are always in the one order or the other."""


@dataclass(frozen=True)
class Agreement:
    """How far a figure's order of methods is that of the truth.

    Args:
        figure: its name, after ``test/``.
        methods: number of methods that have both.
        tau: Kendall's τ-b; above 0 where a better figure goes with more truth.
        low: of the interval; NaN without one.
        high: of the interval.
        best: the method that the figure puts first.
    """

    figure: str
    methods: int
    tau: float
    low: float
    high: float
    best: str

    @property
    def verdict(self) -> str:
        """Whether the interval is above 0, below, or holds it."""
        if self.low > 0:
            return "agrees"
        return "contradicts" if self.high < 0 else "does not tell"


def kendall_tau(first: Floats, second: Floats) -> Floats:
    """Kendall's τ-b between values of the same methods; NaN where all values of one are equal.

    Args:
        first: (…, M).
        second: (…, M).

    Returns:
        (…,) in [-1, 1].

    Example:
        >>> kendall_tau(np.array([1.0, 2.0, 3.0]), np.array([1.0, 3.0, 2.0])).round(3).item()
        0.333
    """
    signs = [np.sign(values[..., :, None] - values[..., None, :]) for values in (first, second)]
    products = (signs[0] * signs[1]).sum(axis=(-2, -1))
    sizes = np.sqrt(np.prod([(sign**2).sum(axis=(-2, -1)) for sign in signs], axis=0))
    taus: Floats = np.divide(products, sizes, out=np.full(np.shape(sizes), np.nan), where=sizes > 0)
    return taus


@checked
def agreements(runs: Sequence[RunRecord], truth: str, *, resamples: Count, seed: CountOrZero) -> list[Agreement]:
    """The agreement of every figure of which it is known whether higher is better, in falling order of τ, NaN last.

    Args:
        runs: of the methods, on the same images.
        truth: the figure that is taken for the truth.
        resamples: number of resamples of the bootstrap.
        seed: of the bootstrap.

    Raises:
        ValueError: for a truth that fewer than three of the runs have measured image by image.
    """
    means = _means(runs, _figures(runs), resamples, seed)
    if truth not in means or len(means[truth].names) < FEWEST:
        raise ValueError(
            f"--truth is {truth!r}, which fewer than {FEWEST} of the runs have measured image by image; the figures are"
            f" {', '.join(sorted(means))}."
        )
    found = [_agreement(figure, one, means[truth]) for figure, one in means.items() if figure != truth]
    return sorted(
        (one for one in found if one is not None), key=lambda one: math.inf if math.isnan(one.tau) else -one.tau
    )


def _figures(runs: Sequence[RunRecord]) -> list[str]:
    names = dict.fromkeys(figure for run in runs for figure in run.per_image.values)
    return [name for name in names if better_of(name)]


@dataclass(frozen=True)
class _Means:
    """The means of a figure for each method, higher being better."""

    names: Sequence[str]
    values: Floats
    """(M,)"""
    resampled: Floats
    """(resamples, M), of the same draws of images for all figures."""

    def only(self, names: Sequence[str]) -> tuple[Floats, Floats]:
        places = [list(self.names).index(name) for name in names]
        return self.values[places], self.resampled[:, places]


def _means(runs: Sequence[RunRecord], figures: Sequence[str], resamples: int, seed: int) -> dict[str, _Means]:
    """Of each figure; the images are drawn once for all of them."""
    numbers = {key: n for n, key in enumerate(dict.fromkeys(key for run in runs for key in run.per_image.keys))}
    rows = {
        (figure, run.name): _rows(run, figure, numbers)
        for figure in figures
        for run in runs
        if figure in run.per_image.values
    }
    measured = {place: one for place, one in rows.items() if len(one.value)}
    columns, count = list(measured.values()), len(numbers)
    values = weighted_means(columns, np.ones((1, count)))[0]
    resampled = bootstrap_means(columns, count, resamples=resamples, seed=seed)
    means = {}
    for figure in figures:
        sign = -1.0 if better_of(figure) == "lower" else 1.0
        names = {name: place for place, (one, name) in enumerate(measured) if one == figure}
        places = list(names.values())
        means[figure] = _Means(list(names), sign * values[places], sign * resampled[:, places])
    return means


def _rows(run: RunRecord, figure: str, numbers: Mapping[str, int]) -> Rows:
    values = run.per_image.values[figure]
    kept = np.isfinite(values)
    image = np.array([numbers[key] for key in run.per_image.keys], dtype=np.intp)[kept]
    group = np.unique(np.array(run.per_image.targets, dtype=str), return_inverse=True)[1][kept]
    return Rows(image, values[kept], group if is_class_mean(figure) else None)


def _agreement(figure: str, means: _Means, truth: _Means) -> Agreement | None:
    names = [name for name in means.names if name in truth.names]
    if len(names) < FEWEST:
        return None
    (values, resampled), (true_values, true_resampled) = means.only(names), truth.only(names)
    low, high = percentile_interval(kendall_tau(resampled, true_resampled), CONFIDENCE)
    tau = float(kendall_tau(values, true_values))
    return Agreement(figure, len(names), tau, low, high, names[int(np.argmax(values))])


def agreement_table(found: Sequence[Agreement], truth: str) -> str:
    """Markdown: a row a figure."""
    lines = [f"| figure | Kendall's τ with {truth} | 95 % | methods | its first | |", "|---|---|---|---|---|---|"]
    for one in found:
        interval = f"{one.low:+.2f} … {one.high:+.2f}"
        lines.append(f"| {one.figure} | {one.tau:+.2f} | {interval} | {one.methods} | {one.best} | {one.verdict} |")
    return "\n".join(lines) + "\n"


def method_table(runs: Sequence[RunRecord], figures: Sequence[str]) -> str:
    """Markdown: a row a method, in falling order of the first figure; how figures rank it stands in brackets."""
    means = _means(runs, figures, 0, 0)
    cells = {figure: _ranked(figure, one) for figure, one in means.items()}
    first = means[figures[0]]
    names = [first.names[place] for place in np.argsort(-first.values, kind="stable")]
    lines = [f"| method | {' | '.join(figures)} |", f"|{'---|' * (len(figures) + 1)}"]
    lines += [f"| {name} | {' | '.join(cells[figure].get(name, '–') for figure in figures)} |" for name in names]
    return "\n".join(lines) + "\n"


def _ranked(figure: str, means: _Means) -> dict[str, str]:
    sign = -1.0 if better_of(figure) == "lower" else 1.0
    ranks = 1 + (means.values[None, :] > means.values[:, None]).sum(axis=1)
    return {
        name: f"{sign * value:.3g} ({rank})" for name, value, rank in zip(means.names, means.values, ranks, strict=True)
    }


def parser() -> argparse.ArgumentParser:
    """The command line."""
    command = table_parser("agreement", "Which figures rank methods as the truth does.")
    command.add_argument("--truth", default="causal_truth", metavar="FIGURE", help="(%(default)s)")
    return command


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command and returns its exit code."""
    return show_table(parser(), arguments, tables)


def tables(args: argparse.Namespace) -> str:
    """Both tables of the runs."""
    runs = read_runs(args.runs)
    found = agreements(runs, args.truth, resamples=args.resamples, seed=args.seed)
    figures = [args.truth, *(one.figure for one in found)]
    return f"{agreement_table(found, args.truth)}\n{method_table(runs, figures)}"


if __name__ == "__main__":
    sys.exit(main())
