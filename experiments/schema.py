"""Schema of experiment files: runs of ``train.py``, choices by cross-validation, a table and figures."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

from vitrine.core.options import Count, CountOrZero, Options, Range

Command = Literal["fit", "validate", "test", "predict"]
Overrides = Mapping[str, Any]
"""Options of ``train.py`` by their dotted keys; a key that ends in ``+`` appends to a list."""


@dataclass(frozen=True)
class Choice(Options):
    """Values chosen by cross-validation on the training images.

    Args:
        grid: values to choose from by option; every combination is fitted on every fold.
        folds: number of folds; each is held out once by ``data.init_args.loading.val_folds`` and ``val_fold``.
        figure: what a fit logs of the fold held out, such as ``val/f_reg``; smaller is better.
        within: the last combination of the grid is taken whose mean figure is at most so many times the least.
        set: overrides of these fits alone, such as fewer epochs.
    """

    grid: Mapping[str, Sequence[Any]]
    figure: str
    folds: Annotated[int, Range(at_least=2)] = 5
    within: Annotated[float, Range(at_least=1)] = 1.0
    set: Overrides = field(default_factory=dict)


@dataclass(frozen=True)
class RunOptions(Options):
    """Commands of ``train.py`` in one run folder.

    Args:
        commands: in order.
        configs: files for ``-c``, relative to the repository.
        set: options that override the files.
        over: one option and its values, or several: a run for each combination, called ``NAME-VALUE``.
        choose: values that are chosen by cross-validation first.
        tiny: further overrides with ``--tiny``.
        common: whether the overrides of all runs hold for it too.
        of: another experiment of the paper whose run of this name is taken, and run where it is not complete; anything else
            beside it is refused.
    """

    commands: Sequence[Command] = ("fit", "test")
    configs: Sequence[str] = ()
    set: Overrides = field(default_factory=dict)
    over: Mapping[str, Sequence[Any]] = field(default_factory=dict)
    choose: Choice | None = None
    tiny: Overrides = field(default_factory=dict)
    common: bool = True
    of: str | None = None


@dataclass(frozen=True)
class Column(Options):
    """A column of a table.

    Args:
        figure: name in ``metrics.json``, or else in ``metrics-fit.json``.
        file: another JSON file of the run's folder; ``figure`` then names nested keys with ``/`` between them.
        scale: what values are multiplied by.
        digits: after the decimal point.
        best: which value is set in bold.
    """

    figure: str
    file: str | None = None
    scale: float = 1.0
    digits: CountOrZero = 3
    best: Literal["min", "max"] | None = None


@dataclass(frozen=True)
class Table(Options):
    """A table: what is measured of which run, beside the paper's own figures.

    Args:
        rows: label and run, ``RUN/EXPLAINER`` of several explainers in one run, or a list of runs, shown as mean ± standard
            deviation. A run with ``over`` stands for all its runs, and each of them has a name of its own.
        columns: by their titles.
        paper: the paper's figures by row and column; rows that no run gives are shown too.
        notes: sentences under the table.
    """

    rows: Mapping[str, str | Sequence[str]]
    columns: Mapping[str, Column]
    paper: Mapping[str, Mapping[str, float | str]] = field(default_factory=dict)
    notes: Sequence[str] = ()


@dataclass(frozen=True)
class Figures(Options):
    """Pictures of an experiment.

    Args:
        curves: names of curves in ``evaluation.json``; a chart each, with a line for each row.
        rows: as those of a table; the table's without it.
        pictures: name of a copy, and the file, ``RUN/…``, with ``*`` where the last of several is meant.
    """

    curves: Sequence[str] = ()
    rows: Mapping[str, str | Sequence[str]] = field(default_factory=dict)
    pictures: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Cost(Options):
    """What the runs take.

    Args:
        minutes: rough duration of all.
        why: on which machine.
    """

    minutes: Count
    why: str = ""


@dataclass(frozen=True)
class Experiment:
    """One table or figure of a paper.

    Args:
        name: ``PAPER/NAME``.
        path: the file.
        title: what it is.
        data: what it needs below ``--data``, by a name.
        fits: what the runs take.
        common: overrides of all runs.
        tiny: overrides of all runs with ``--tiny``.
        runs: by name, in order.
        table: what is made of the figures.
        figures: what is made of curves and pictures.
    """

    name: str
    path: Path
    title: str
    data: Mapping[str, str]
    fits: Cost | None
    common: Overrides
    tiny: Overrides
    runs: Mapping[str, RunOptions]
    table: Table | None
    figures: Figures
