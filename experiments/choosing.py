"""Cross-validation: options that are chosen by fits on folds of the training images."""

import hashlib
import json
import math
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

from experiments.combinations import grid_points
from experiments.planning import Places, Planned, words
from experiments.schema import Choice, Experiment
from vitrine.core.atomic_io import atomic_file

FIT_METRICS_NAME = "metrics-fit.json"
FOLDER = "choices"


def choose(
    experiment: Experiment,
    planned: Planned,
    places: Places,
    complete: Callable[[Planned], Path],
    digests: Mapping[str, str] = MappingProxyType({}),
) -> dict[str, Any]:
    """Fits every combination of the grid on every fold, and keeps the values that were chosen, with all figures.

    Args:
        experiment: that the run belongs to.
        planned: the run, without what is to be chosen.
        places: where the fits are written.
        complete: runs what is not complete of a run and returns its folder.
        digests: of complete runs; those that the fits read are kept with the choice.

    Returns:
        The chosen values by option.

    Raises:
        ValueError: where a fit does not log the figure.
    """
    options = experiment.runs[planned.option_name].choose
    if options is None:
        raise ValueError(f"{experiment.path}: runs.{planned.option_name} has nothing to choose; give choose.")
    used = _shortened(options) if places.tiny else options
    points = grid_points(used.grid)
    found = []
    for number, point in enumerate(points):
        fits = [_fit_of_fold(experiment, planned, places, used, number, point, fold) for fold in range(used.folds)]
        found.append([_figure(complete(fit), used.figure) for fit in fits])
    means = [statistics.fmean(values) for values in found]
    if not places.tiny and not any(map(math.isfinite, means)):  # a tiny set leaves no choice
        raise ValueError(
            f"{experiment.path}: runs.{planned.option_name}.choose: {used.figure} is finite at no point of the grid; give"
            " other values."
        )
    chosen = points[chosen_place(means, used.within)]
    record = {
        "of": _digest(experiment, planned.option_name, places),
        "read": {name: digests.get(name) for name in planned.needs},
        "figure": used.figure, "folds": used.folds, "within": used.within,
        "tried": [{"values": point, "figures": values} for point, values in zip(points, found, strict=True)],
        "chosen": chosen,
    }  # fmt: skip
    path = _record_path(places.folder(experiment), planned.option_name)
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_file(path) as partial:
        partial.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
    return chosen


def choice_of(
    experiment: Experiment, run: str, places: Places, digests: Mapping[str, str] = MappingProxyType({})
) -> dict[str, Any] | None:
    """The values that were chosen for a run under the options that it has today; None where there are none yet.

    Nor are there any where a run that the fits have read is another one today.

    Args:
        experiment: that the run belongs to.
        run: its name in the experiment's file.
        places: where the experiment is written.
        digests: of complete runs, today.
    """
    record = read_choice(places.folder(experiment), run)
    if record is None or record["of"] != _digest(experiment, run, places) or "read" not in record:
        return None
    is_of_today = all(digests.get(name) == digest for name, digest in record["read"].items())
    return dict(record["chosen"]) if is_of_today else None


def read_choice(folder: Path, run: str) -> dict[str, Any] | None:
    """What was tried and chosen for a run; None where nothing was."""
    try:
        record: dict[str, Any] = json.loads(_record_path(folder, run).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    return record


def chosen_place(means: Sequence[float], within: float = 1.0) -> int:
    """The last place whose mean is at most ``within`` times the least finite one; the first of the least for 1.

    The first place of all where no mean is finite.

    Example:
        >>> chosen_place([0.14, 0.15, 0.2, 0.6], within=1.5)
        2
    """
    finite = {place: mean for place, mean in enumerate(means) if math.isfinite(mean)}
    if not finite:
        return 0
    least = min(finite.values())
    if within == 1:
        return list(means).index(least)
    return max(place for place, mean in finite.items() if mean <= max(least, within * least))


def _fit_of_fold(
    experiment: Experiment,
    planned: Planned,
    places: Places,
    options: Choice,
    number: int,
    point: Mapping[str, Any],
    fold: int,
) -> Planned:
    name = f"{FOLDER}/{planned.option_name}/{number}-{fold}"
    held_out = {"data.init_args.loading.val_folds": options.folds, "data.init_args.loading.val_fold": fold}
    folder = {"trainer.default_root_dir": str(places.run_folder(experiment, name))}
    arguments = [*planned.arguments, *words({**options.set, **point, **held_out, **folder})]
    return Planned(name, planned.option_name, ["fit"], arguments, planned.needs)


def _shortened(options: Choice) -> Choice:
    """A choice that is tried on a tiny set: the first value of each option, two folds, and no epochs of its own."""
    return replace(options, grid={key: values[:1] for key, values in options.grid.items()}, folds=2, set={})


def _figure(folder: Path, name: str) -> float:
    path = folder / FIT_METRICS_NAME
    figures = json.loads(path.read_text(encoding="utf-8"))
    value = figures.get(name)
    if value is None and name not in figures:
        raise ValueError(f"{path} has no {name}; choose by one of {', '.join(figures)}.")
    return math.inf if value is None else float(value)


def _record_path(folder: Path, run: str) -> Path:
    return folder / FOLDER / f"{run}.json"


def _digest(experiment: Experiment, run: str, places: Places) -> str:
    """Of all that the fits of a choice depend on within the file, without the runs that they read."""
    tiny = experiment.tiny if places.tiny else None
    options = [dict(experiment.common), experiment.runs[run].to_dict(), tiny]
    return hashlib.sha256(json.dumps(options, sort_keys=True).encode()).hexdigest()[:16]
