"""The rows of the tables: the methods, and baselines of this benchmark alone."""

from typing import TypeAlias

from benchmarks.localization.baselines import WHOLE_IMAGE, GaussianCentre
from benchmarks.method_maps import CLASS_METHODS
from benchmarks.method_table import METHODS, Entry

Row: TypeAlias = Entry | None
"""How a row's maps are made; None for the row that has none, WholeImage."""

ROWS: dict[str, Row] = {
    WHOLE_IMAGE: None,
    "GaussianCentre": Entry(GaussianCentre),
    **{name: METHODS[name] for name in CLASS_METHODS},
}
