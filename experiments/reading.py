"""Reading of experiment files: found by name, merged with the files that they build on, and checked."""

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

import yaml
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from experiments.combinations import names_over
from experiments.schema import Column, Cost, Experiment, Figures, Overrides, RunOptions, Table
from vitrine.core.near_names import did_you_mean
from vitrine.core.options import Options

FOLDER = Path(__file__).parent
KEYS = ("title", "data", "fits", "common", "tiny", "runs", "table", "figures")
BASE, ABSTRACT = "base", "_"
"""The key that names a file to build on, and how the name of a file begins that is there for that alone."""

T = TypeVar("T")
O = TypeVar("O", bound=Options)  # noqa: E741


def experiment_files(folder: Path = FOLDER) -> dict[str, Path]:
    """Files by ``PAPER/NAME``, sorted."""
    files = sorted(path for path in folder.glob("*/*.yaml") if is_experiment(path))
    return {f"{path.parent.name}/{path.stem}": path for path in files}


def is_experiment(path: Path) -> bool:
    """Whether a YAML file beside experiments is one: it names runs or builds on one, as configurations do not."""
    if path.name.startswith(ABSTRACT):
        return False
    keys = _loaded(path)
    return "runs" in keys or BASE in keys


def find_experiment(name: str, folder: Path = FOLDER) -> Experiment:
    """Reads an experiment by ``PAPER/NAME``, or by ``NAME`` where no other paper has it.

    Raises:
        ValueError: where there is none, or several, of the name, and for what its file holds.
    """
    files = experiment_files(folder)
    found = [one for one in files if name in {one, one.split("/")[1]}]
    if len(found) > 1:
        raise ValueError(f"{name} is the name of several experiments; give one of {', '.join(found)}.")
    if not found:
        hint = did_you_mean(name, [*files, *(one.split("/")[1] for one in files)])
        raise ValueError(f"There is no experiment {name!r}{hint or ';'} `python -m experiments list` shows all.")
    return read_experiment(files[found[0]])


def read_experiment(path: Path) -> Experiment:
    """Reads an experiment file.

    Raises:
        ValueError: in one sentence, for a file that is no YAML, a key that is not known, and a value that makes no sense.
    """
    merged = _with_base(path)
    unknown = next((key for key in merged if key not in KEYS), None)
    if unknown is not None:
        raise ValueError(
            f"{path}: {unknown} is no key of an experiment{did_you_mean(str(unknown), KEYS) or ';'} {_known()}"
        )
    if not isinstance(merged.get("title"), str):
        raise ValueError(f"{path}: title is {merged.get('title')!r}; give a text that names the table or figure.")
    runs = _runs(path, merged)
    table, figures = merged.get("table"), merged.get("figures")
    experiment = Experiment(
        name=f"{path.parent.name}/{path.stem}",
        path=path,
        title=merged["title"],
        data={name: str(place) for name, place in _mapping(path, "data", merged).items() if place is not None},
        fits=None if merged.get("fits") is None else _options(path, "fits", Cost, merged["fits"]),
        common=_mapping(path, "common", merged),
        tiny=_mapping(path, "tiny", merged),
        runs=runs,
        table=None if table is None else _table(path, table),
        figures=Figures() if figures is None else _options(path, "figures", Figures, figures),
    )
    _check_rows(experiment)
    return experiment


def rows_of(experiment: Experiment) -> Mapping[str, list[str]]:
    """Runs, as ``RUN`` or ``RUN/EXPLAINER``, by the labels of the table's or the figures' rows."""
    rows = experiment.figures.rows or (experiment.table.rows if experiment.table is not None else {})
    return {label: run_names(named) for label, named in rows.items()}


def run_names(named: Any) -> list[str]:
    """One name or several as a list."""
    return [named] if isinstance(named, str) else list(named)


def _known() -> str:
    return f"known are {', '.join((BASE, *KEYS))}."


def _loaded(path: Path) -> dict[str, Any]:
    try:
        loaded = OmegaConf.load(path)
    except FileNotFoundError:
        raise FileNotFoundError(f"{path} does not exist; give an experiment file.") from None
    except (yaml.YAMLError, OmegaConfBaseException, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is not a YAML file of keys and values: {' '.join(str(error).split())}") from None
    if not isinstance(loaded, DictConfig):
        raise ValueError(f"{path} is not a YAML file of keys and values; give title and runs.")
    keys: dict[str, Any] = OmegaConf.to_container(loaded, resolve=False)  # type: ignore[assignment]
    return keys


def _with_base(path: Path, above: tuple[Path, ...] = ()) -> dict[str, Any]:
    """The keys of a file over those of the files that it builds on, of which later ones stand over earlier ones."""
    if path.resolve() in above:
        raise ValueError(f"{path} builds on itself; give another {BASE}.")
    keys = _loaded(path)
    below: dict[str, Any] = {}
    for base in run_names(keys.pop(BASE, None) or []):
        below = _merged(below, _with_base(path.parent / str(base), (*above, path.resolve())))
    return _merged(below, keys)


def _merged(below: dict[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """Mappings key by key; null takes an entry out, any other value replaces it."""
    merged = dict(below)
    for key, value in above.items():
        known = merged.get(key)
        merged[key] = _merged(known, value) if isinstance(known, dict) and isinstance(value, dict) else value
    return merged


def _mapping(path: Path, key: str, keys: Mapping[str, Any]) -> dict[str, Any]:
    value = keys.get(key)
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise ValueError(f"{path}: {key} is {value!r}; give keys with values.")
    return {str(name): entry for name, entry in value.items()}


def _options(path: Path, key: str, declared: type[O], value: Any) -> O:
    given = _mapping(path, key, {key: value})
    return _named(path, key, lambda: declared.from_dict(given))


def _runs(path: Path, keys: Mapping[str, Any]) -> dict[str, RunOptions]:
    given = {name: entry for name, entry in _mapping(path, "runs", keys).items() if entry is not None}
    runs = {name: _options(path, f"runs.{name}", RunOptions, entry) for name, entry in given.items()}
    if not runs:
        raise ValueError(f"{path}: runs is empty; give at least one run of train.py by its name.")
    for name, run in runs.items():
        beside = next((key for key, value in given[name].items() if key != "of" and value is not None), None)
        if run.of is not None and beside is not None:
            raise ValueError(
                f"{path}: runs.{name} is taken of {run.of} and gives {beside} too; give that there, or take of out."
            )
    _check_over(path, runs)
    return runs


def _table(path: Path, value: Any) -> Table:
    given = _mapping(path, "table", {"table": value})
    columns = {
        title: _options(path, f"table.columns.{title}", Column, column)
        for title, column in _mapping(path, "columns", given).items()
        if column is not None
    }
    rows = {label: runs for label, runs in _mapping(path, "rows", given).items() if runs is not None}
    paper = {label: figures or {} for label, figures in _mapping(path, "paper", given).items()}
    table = _named(path, "table", lambda: Table.from_dict({**given, "columns": columns, "rows": rows, "paper": paper}))
    for label, figures in table.paper.items():
        unknown = next((title for title in figures if title not in columns), None)
        if unknown is not None:
            raise ValueError(
                f"{path}: table.paper.{label} has {unknown!r}, which is no column{did_you_mean(unknown, columns) or '.'}"
            )
    return table


def _named(path: Path, key: str, make: Callable[[], T]) -> T:
    """What ``make`` returns; its errors name the file and the key."""
    try:
        return make()
    except TypeError as error:  # an entry that has no default
        missing = str(error).rpartition("argument")[2].lstrip("s: ")
        raise ValueError(f"{path}: {key} lacks {missing}; give it.") from None
    except ValueError as error:
        raise ValueError(f"{path}: {key}: {error}") from None


def _check_over(path: Path, runs: Mapping[str, RunOptions]) -> None:
    for name, run in runs.items():
        given = {**run.over, **(run.choose.grid if run.choose is not None else {})}
        empty = next((key for key, values in given.items() if not isinstance(values, list) or not values), None)
        if empty is not None:
            raise ValueError(f"{path}: runs.{name}: {empty} is {given[empty]!r}; give a list of values.")


def _check_rows(experiment: Experiment) -> None:
    own = [full for name, run in experiment.runs.items() for full in names_over(name, run.over)]
    known = list(dict.fromkeys([*experiment.runs, *own]))
    for label, place in _named_runs(experiment):
        run = place.split("/")[0]
        if run not in known and run not in _taken_names(experiment, run):
            hint = did_you_mean(run, known) or f"; there are {', '.join(known)}."
            raise ValueError(f"{experiment.path}: {label} names the run {place!r}, which is not there{hint}")


def _taken_names(experiment: Experiment, run: str) -> list[str]:
    """Names of the runs that are taken of others by a name that ``run`` begins with.

    The rows of the others are not looked at, as they may name runs of this one.
    """
    found: list[str] = []
    for name, options in experiment.runs.items():
        if options.of is not None and run.startswith(f"{name}-"):
            path = experiment.path.parent / f"{options.of}.yaml"
            theirs = _runs(path, _with_base(path)).get(name)  # planning refuses a run that is not there
            found += names_over(name, theirs.over) if theirs is not None else []
    return found


def _named_runs(experiment: Experiment) -> Iterator[tuple[str, str]]:
    tables: list[tuple[str, Overrides]] = [("figures.rows", experiment.figures.rows)]
    if experiment.table is not None:
        tables.append(("table.rows", experiment.table.rows))
    for key, rows in tables:
        yield from ((f"{key}.{label}", place) for label, runs in rows.items() for place in run_names(runs))
    yield from ((f"figures.pictures.{name}", place) for name, place in experiment.figures.pictures.items())
