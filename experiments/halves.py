"""Comparison by halves: each method's setting is chosen on one half of the images and measured on the other, both ways.

    python -m experiments.halves runs/experiments/boxes/voc_mobilenet/methods-* --figure pointing_game --ours InversionMask
    python -m experiments.halves runs/experiments/boxes/voc_mobilenet/methods-* --figure 'localization/error/*'

Explainers of one method are settings of it, such as those of another layer, reduction or sigma; so are the values of ``*`` in
a figure's name, such as the α of the localisation error. Runs with the same explainers on other images are taken together. A
hash of its key says in which half an image is. The best setting on one half is measured on the other, so that every image is
measured under settings that were chosen without it; intervals are of a bootstrap over images that is paired over methods.
"""

import argparse
import hashlib
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

import numpy as np
from numpy.typing import NDArray

from experiments.run_tables import show_table, table_parser
from vitrine.core.figures import better_of, is_class_mean
from vitrine.core.options import Count, CountOrZero, checked
from vitrine.visualization.comparison.bootstrap import Rows, bootstrap_means, percentile_interval, weighted_means
from vitrine.visualization.comparison.tested_runs import RunRecord, read_runs

Floats = NDArray[np.float64]
Pair = tuple[str, str]
"""Key of an image and an explained class."""
CONFIDENCE = 0.95


@dataclass(frozen=True)
class Setting:
    """One setting of a method, measured on all pairs.

    Args:
        method: whose setting it is.
        name: of the explainer, and what stands for ``*`` in the figure.
        values: (R,) of the pairs.
    """

    method: str
    name: str
    values: Floats


@dataclass(frozen=True)
class ByHalves:
    """A method whose setting was chosen on one half and measured on the other.

    Args:
        method: such as ``InversionMask``.
        settings: how many there are.
        chosen: names of the settings chosen on the first half and on the second.
        of_halves: the figures on the first half and on the second, each under the setting chosen on the other.
        value: the figure over all images.
        low: of its interval.
        high: of its interval.
        lead: by how much our method is better over all images; below 0 where it is worse, 0 for itself.
        lead_low: of the lead's interval.
        lead_high: of the lead's interval.
    """

    method: str
    settings: int
    chosen: tuple[str, str]
    of_halves: tuple[float, float]
    value: float
    low: float
    high: float
    lead: float
    lead_low: float
    lead_high: float


@checked
def by_halves(
    runs: Sequence[Sequence[RunRecord]], figure: str, ours: str, *, resamples: Count = 2000, seed: CountOrZero = 0
) -> list[ByHalves]:
    """Every method by halves, the best first.

    Args:
        runs: the explainers of each run, the same ones on other images.
        figure: a name, with a ``*`` where it is several.
        ours: the method whose lead is measured.
        resamples: of the bootstrap.
        seed: of the bootstrap.

    Raises:
        ValueError: for a figure that is not there or of which neither direction is better, a method that is not there,
            explainers that measured other pairs or one twice, a method of which no setting has all pairs, runs on
            different data sets, and images that are all in one half.
    """
    sign = _sign(figure)
    _check_one_data_set(runs)
    pairs, settings = _settings(runs, figure)
    if ours not in settings:
        raise ValueError(f"--ours is {ours!r}, which no explainer is of; give one of {', '.join(settings)}.")
    measured = _Pairs.of(pairs, by_class=is_class_mean(figure))
    crossed = {method: _crossed(of_method, measured, sign) for method, of_method in settings.items()}
    columns = [measured.rows(values) for _, values in crossed.values()]
    count = len(measured.second)
    values = weighted_means(columns, np.ones((1, count)))[0]
    resampled = bootstrap_means(columns, count, resamples=resamples, seed=seed)
    own = list(crossed).index(ours)
    found = []
    for place, (method, (chosen, of_pairs)) in enumerate(crossed.items()):
        halves = (measured.mean(of_pairs, second=False), measured.mean(of_pairs, second=True))
        low, high = percentile_interval(resampled[:, place], CONFIDENCE)
        lead = sign * (values[own] - values[place])
        lead_low, lead_high = percentile_interval(sign * (resampled[:, own] - resampled[:, place]), CONFIDENCE)
        number, value = len(settings[method]), float(values[place])
        found.append(ByHalves(method, number, chosen, halves, value, low, high, float(lead), lead_low, lead_high))
    return sorted(found, key=lambda one: -sign * one.value)


def in_second_half(key: str) -> bool:
    """Whether an image is in the second half, by the SHA-256 of its key."""
    return hashlib.sha256(key.encode("utf-8", "surrogateescape")).digest()[0] % 2 == 1


def _sign(figure: str) -> float:
    """1 where a higher value is better, -1 where a lower one is; ``localization/error/*`` is as ``localization/error``."""
    better = better_of(figure.replace("*", "1")) or better_of(figure.rpartition("/")[0])
    if not better:
        raise ValueError(f"--figure is {figure!r}, of which it is not known whether higher is better; give another.")
    return 1.0 if better == "higher" else -1.0


@dataclass(frozen=True)
class _Pairs:
    """The measured pairs: their images, classes and halves."""

    image: NDArray[np.intp]
    """(R,) number of each pair's image."""
    group: NDArray[np.intp] | None
    """(R,) number of each pair's class, for means over classes."""
    second: NDArray[np.bool_]
    """(images,) which are in the second half."""

    @classmethod
    def of(cls, pairs: Sequence[Pair], *, by_class: bool) -> "_Pairs":
        keys, image = np.unique(np.array([key for key, _ in pairs], dtype=object).astype(str), return_inverse=True)
        targets = np.array([target for _, target in pairs], dtype=object).astype(str)
        second = np.array([in_second_half(key) for key in keys.tolist()], dtype=np.bool_)
        if second.all() or not second.any():
            raise ValueError(f"All of the {len(keys)} tested images are in one half; test more images.")
        return cls(image, np.unique(targets, return_inverse=True)[1] if by_class else None, second)

    def rows(self, values: Floats) -> Rows:
        return Rows(self.image, values, self.group)

    def mean(self, values: Floats, *, second: bool) -> float:
        """The figure on the images of one half."""
        weights = (self.second == second)[None].astype(np.float64)
        return float(weighted_means([self.rows(values)], weights)[0, 0])


def _crossed(settings: Sequence[Setting], pairs: _Pairs, sign: float) -> tuple[tuple[str, str], Floats]:
    """The settings chosen on the first and on the second half, and (R,) values of each pair under that of the other half."""
    on_first, on_second = (
        settings[int(np.argmax([sign * pairs.mean(one.values, second=second) for one in settings]))]
        for second in (False, True)
    )
    values = np.where(pairs.second[pairs.image], on_first.values, on_second.values)
    return (on_first.name, on_second.name), values


def _settings(runs: Sequence[Sequence[RunRecord]], figure: str) -> tuple[list[Pair], dict[str, list[Setting]]]:
    """The pairs that were measured, and the settings of each method on them."""
    by_name: dict[str, list[RunRecord]] = {}
    for record in _records(runs):
        by_name.setdefault(record.name, []).append(record)
    known: list[Pair] | None = None
    found: dict[str, list[Setting]] = {}
    for name, records in by_name.items():
        columns = _joined(records, figure)
        pairs = sorted({pair for column in columns.values() for pair in column})
        if not pairs:
            continue
        if known is not None and pairs != known:
            raise ValueError(
                f"{records[0].folder} measured {figure} on other images than the others; test it on the same."
            )
        known = pairs
        method = _method(records[0])
        found.setdefault(method, []).extend(
            Setting(method, f"{name}{title}", np.array([column[pair] for pair in pairs]))
            for title, column in columns.items()
            if len(column) == len(pairs)  # a setting that lacks some would be chosen on others than it is measured on
        )
    if known is None:
        names = sorted({one for records in by_name.values() for record in records for one in record.per_image.values})
        raise ValueError(
            f"--figure is {figure!r}, which no run measured image by image; the figures are {', '.join(names)}."
        )
    lacking = next((method for method, settings in found.items() if not settings), None)
    if lacking is not None:
        raise ValueError(f"No setting of {lacking} measured {figure} on all of its images; test them again.")
    return known, found


def _records(runs: Sequence[Sequence[RunRecord]]) -> list[RunRecord]:
    return [record for run in runs for record in run]


def _check_one_data_set(runs: Sequence[Sequence[RunRecord]]) -> None:
    first, *others = _records(runs)
    other = next((record for record in others if record.data != first.data), None)
    if other is not None:
        raise ValueError(
            f"{first.folder} was tested on {first.data} and {other.folder} on {other.data}; give runs on one data set."
        )


def _joined(records: Sequence[RunRecord], figure: str) -> dict[str, dict[Pair, float]]:
    """Of an explainer, by what stands for ``*``, the values of all its runs."""
    columns: dict[str, dict[Pair, float]] = {}
    for record in records:
        for title, values in _measured(record, figure).items():
            column = columns.setdefault(title, {})
            twice = next((pair for pair in values if pair in column), None)
            if twice is not None:
                raise ValueError(
                    f"{record.folder} measured {figure} on {twice[0]!r} of {twice[1]!r}, which another of the runs has of"
                    f" {record.name} too; give each image in one run."
                )
            column.update(values)
    return columns


def _method(record: RunRecord) -> str:
    return record.settings.get("method", record.name)


def _measured(record: RunRecord, figure: str) -> Mapping[str, Mapping[Pair, float]]:
    """By what stands for ``*``, the values of the pairs that have one."""
    before = figure.partition("*")[0]
    table = record.per_image
    return {
        (f", {name.removeprefix(before)}" if "*" in figure else ""): {
            pair: float(value)
            for pair, value in zip(zip(table.keys, table.targets, strict=True), column, strict=True)
            if not np.isnan(value)
        }
        for name, column in table.values.items()
        if fnmatchcase(name, figure)
    }


def table_of(found: Sequence[ByHalves], figure: str, ours: str) -> str:
    """Markdown: a row a method."""
    lines = [
        f"| method | {figure} | 95 % | halves | lead of {ours} | 95 % | settings | chosen |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for one in found:
        lead, interval = (
            ("", "") if one.method == ours else (f"{one.lead:+.3f}", f"{one.lead_low:+.3f} … {one.lead_high:+.3f}")
        )
        halves, chosen = " / ".join(f"{value:.3f}" for value in one.of_halves), " / ".join(dict.fromkeys(one.chosen))
        lines.append(
            f"| {one.method} | {one.value:.3f} | {one.low:.3f} … {one.high:.3f} | {halves} | {lead} | {interval} |"
            f" {one.settings} | {chosen} |"
        )
    return "\n".join(lines) + "\n"


def parser() -> argparse.ArgumentParser:
    """The command line."""
    command = table_parser("halves", "Settings chosen on one half of the images, measured on the other.")
    command.add_argument("--figure", default="pointing_game", help="with * where it is several (%(default)s)")
    command.add_argument("--ours", default="InversionMask", metavar="METHOD", help="whose lead is shown (%(default)s)")
    return command


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command and returns its exit code."""
    return show_table(parser(), arguments, table)


def table(args: argparse.Namespace) -> str:
    """The table of the runs."""
    runs = [read_runs([folder]) for folder in args.runs]
    found = by_halves(runs, args.figure, args.ours, resamples=args.resamples, seed=args.seed)
    return table_of(found, args.figure, args.ours)


if __name__ == "__main__":
    sys.exit(main())
