"""AlphaChoice: the α of the localisation error, chosen on validation images and kept in the run's folder for its tests."""

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pytorch_lightning.utilities import rank_zero_info, rank_zero_warn

from lightning_modules.metric_states import was_updated
from vitrine.core.atomic_io import atomic_file
from vitrine.core.batch import Batch
from vitrine.core.distributed import gather_over_ranks, global_rank
from vitrine.core.explanation import Explanation
from vitrine.explainers import Explainer
from vitrine.explainers.saving import class_path
from vitrine.metrics import LocalizationError
from vitrine.metrics.localization import DEFAULT_ALPHA

NAME = "validation.json"
_CHOOSE = "run train.py validate on images with boxes that are not tested"


@dataclass
class AlphaChoice:
    """Measures the localisation error of explainers at every α, over all batches and ranks of a validation.

    Args:
        data: name of the data set.
        explain: which classes are explained.
    """

    data: str
    explain: str
    metrics: dict[str, LocalizationError] = field(default_factory=dict)
    """By explainer, ``""`` where there is one alone."""
    identities: Mapping[str, str] = field(default_factory=dict)
    """By explainer, see `identity_of`."""

    def update(self, name: str, explanation: Explanation, rows: Batch) -> None:
        """Takes in the explanation of a batch's rows by one explainer."""
        self.metrics[name].update(explanation, rows)

    def figures(self) -> dict[str, dict[str, Any]]:
        """By explainer, what `write_choice` writes; of those with images that have boxes. Called on all ranks together."""
        figures = {
            name: self._figures(metric) | {"explainer": self.identities.get(name, "")}
            for name, metric in self.metrics.items()
            if was_updated(metric)
        }
        return {name: of_explainer for name, of_explainer in figures.items() if of_explainer["images"]}

    def _figures(self, metric: LocalizationError) -> dict[str, Any]:
        with metric.sync_context():
            curve = metric.curves()["localization"]
            images, degenerate = int(metric.measured), int(metric.degenerate)
        best = min(range(len(curve.y)), key=curve.y.__getitem__)  # the lowest α on ties
        return {
            "localization_alpha": curve.x[best],
            "localization_error": curve.y[best],
            "data": self.data,
            "explain": self.explain,
            "images": images,
            "degenerate": degenerate,
            "error_curve": {"alpha": list(curve.x), "error": list(curve.y)},
        }


def identity_of(explainer: Explainer, explain: str) -> str:
    """A digest of what maps depend on beside learned heads: an explainer's kind and options, its network, and the classes."""
    told = [class_path(type(explainer)), explainer.options.to_dict(), explainer.backbone.digest, explain]
    return hashlib.sha256(json.dumps(told, sort_keys=True, default=str).encode()).hexdigest()[:16]


def write_choice(folder: Path, figures: Mapping[str, Any]) -> Path:
    """Writes what was chosen into the folder of a run, or of one of its explainers; returns the file."""
    with atomic_file(folder / NAME) as partial:
        partial.write_text(json.dumps(figures, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    return folder / NAME


def forget_choice(folder: Path) -> None:
    """Removes what was chosen for an explainer that is about to change; on rank zero alone."""
    if global_rank() == 0:
        (folder / NAME).unlink(missing_ok=True)


def alpha_for_test(folder: Path, data: str, identity: str = "", *, told: bool = False) -> float:
    """The α that `write_choice` wrote for this data set, the same on all ranks; 1, and a note, without one.

    Args:
        folder: of the explainer.
        data: name of the data set.
        identity: of the explainer, see `identity_of`; what was chosen for another is left aside.
        told: whether the note was given before, for another explainer of the run.

    Raises:
        ValueError: for a file that is damaged.
    """
    found: float | None = None
    error: ValueError | None = None
    try:
        found = _read(folder / NAME, data, identity)
    except ValueError as raised:
        error = raised
    found, error = gather_over_ranks((found, error))[0]
    if error is not None:
        raise error
    if found is not None:
        return found
    if not told:
        rank_zero_info(
            f"The localisation error is measured at α = {DEFAULT_ALPHA:g}: {folder} has no {NAME} of {data}; to choose α,"
            f" {_CHOOSE}, or set model.init_args.metrics.localization_alpha."
        )
    return DEFAULT_ALPHA


def _read(path: Path, data: str, identity: str) -> float | None:
    if not path.is_file():
        return None
    try:
        figures = json.loads(path.read_text(encoding="utf-8"))
        of_data, alpha = figures["data"], float(figures["localization_alpha"])
    except (ValueError, TypeError, KeyError):
        of_data, alpha = "", math.nan
    if not math.isfinite(alpha):
        raise ValueError(f"{path} is damaged: it has no data and localization_alpha; remove it, and {_CHOOSE}.")
    if of_data != data:
        rank_zero_warn(f"{path} is of {of_data}, not of {data}, and is left aside.")
        return None
    if figures.get("explainer", "") != identity:
        rank_zero_warn(
            f"{path} was chosen for maps of other options, classes or weights, and is left aside; {_CHOOSE} with those of the"
            " test."
        )
        return None
    return alpha
