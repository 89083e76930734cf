"""SeveralExplainersModule: several explainers of one network, tested and applied in one pass over the data."""

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from typing_extensions import override

from lightning_modules.base import ExplainerModule
from lightning_modules.evaluated import faithfulness_metrics, metrics_of
from lightning_modules.explained import explained_rows, first_of_each_image, joined_of_each_image
from lightning_modules.heads import check_drawable
from lightning_modules.measured import log_figures, measured
from vitrine.attribution.together import attribute_together
from vitrine.core.batch import Batch
from vitrine.core.explanation import Explanation
from vitrine.core.options import OptionError
from vitrine.data.contracts import ExplanationData
from vitrine.explainers import Explainer
from vitrine.explainers.attribution import AttributionExplainer
from vitrine.explainers.base import target_classes
from vitrine.explainers.map_files import MapFileExplainer

AT_ONCE = 16
"""Images that a method explains at once; a bound on memory that changes no result."""


class SeveralExplainersModule(ExplainerModule):
    """What testing and applying several explainers of one network takes, whether they are trained or not.

    Args:
        explainers: by name, which becomes a folder's.
        kwargs: those of `ExplainerModule`.

    Raises:
        ValueError: without an explainer, and for names that are no folder's.
    """

    named_in = "explainers"
    """The option whose names the explainers have."""

    def __init__(self, explainers: dict[str, Explainer], **kwargs: Any) -> None:
        if not explainers:
            raise OptionError(self.named_in, "{}", "at least one entry by its name")
        for name in explainers:
            if not name or name.startswith(".") or set(name) & set("/\\:\0"):
                raise OptionError(self.named_in, name, "names that a folder may have, without / \\ : and a leading dot")
        super().__init__(next(iter(explainers.values())), **kwargs)
        self.explainers = explainers
        kinds = Counter(_kind(explainer) for explainer in explainers.values())
        self._shared = {kind for kind, count in kinds.items() if kind and count > 1}
        self._drawers: dict[str, AttributionExplainer] = {}
        for explainer in explainers.values():
            if isinstance(explainer, AttributionExplainer):
                self._drawers.setdefault(_kind(explainer), explainer)
        self._registered = nn.ModuleList(explainers.values())
        self.faithfulness = [faithfulness_metrics(f"test/{name}") for name in explainers]
        self._of_explainers = nn.ModuleList(self.faithfulness)
        self.explainer_metrics = nn.ModuleList()

    @property
    @override
    def every_explainer(self) -> Sequence[Explainer]:
        return list(self.explainers.values())

    @override
    def _check_drawable(self) -> None:
        checked: set[str] = set()
        for name, explainer in self.explainers.items():
            if _kind(explainer) not in checked:
                check_drawable(explainer, f"model.init_args.{self.named_in}.{name}")
            checked |= {_kind(explainer)} & self._shared

    @override
    def _take_over_data(self, data: ExplanationData, stage: str) -> None:
        for explainer in self.explainers.values():
            self._prepare(explainer, data, stage)
        if stage != "predict":
            of_each = [
                nn.ModuleList(metrics_of(explainer, data.annotations, self.metric_options_of(data.annotations, name)))
                for name, explainer in self.explainers.items()
            ]
            self.explainer_metrics = nn.ModuleList(of_each)

    @property
    @override
    def metrics_of_explainers(self) -> Mapping[str, nn.ModuleList]:
        return dict(zip(self.explainers, self.explainer_metrics, strict=True))  # type: ignore[arg-type]

    @override
    def test_step(self, batch: Batch) -> dict[str, Explanation]:  # type: ignore[override]
        """Explains a batch by each explainer and measures all rows; returns the explanations of the images' first classes."""
        rows_of = self._rows_of_explainers(batch)
        firsts: dict[str, Explanation] = {}
        drawn: dict[str, Tensor] = {}
        pairs = zip(self.explainers.items(), self.explainer_metrics, self.faithfulness, strict=True)
        for (name, explainer), metrics, faithfulness in pairs:
            rows = rows_of[name]
            explanation = self._explained(explainer, rows, drawn)
            first = firsts[name] = first_of_each_image(explanation, rows["key"])
            if first.logit_estimate is not None and first.explained_classes is not None:
                faithfulness.update(first.logit_estimate, first.logits, first.explained_classes)
            self.measured[name] = measured(metrics, explanation, rows)  # type: ignore[arg-type]
        return firsts

    @override
    def predict_step(self, batch: Batch) -> dict[str, Explanation]:
        """By explainer, the explanation of each image of a batch."""
        rows_of = self._rows_of_explainers(batch)
        drawn: dict[str, Tensor] = {}
        return {
            name: joined_of_each_image(
                self._explained(explainer, rows_of[name], drawn), rows_of[name]["key"], explainer.classes
            )
            for name, explainer in self.explainers.items()
        }

    @override
    def explanations(self, batch: Batch) -> Iterator[tuple[str, Explanation, Batch]]:
        rows_of = self._rows_of_explainers(batch)
        drawn: dict[str, Tensor] = {}
        for name, explainer in self.explainers.items():
            yield name, self._explained(explainer, rows_of[name], drawn), rows_of[name]

    @property
    @override
    def explainer_folders(self) -> dict[str, Path]:
        return {name: Path(self.trainer.default_root_dir, "explainers", name) for name in self.explainers}

    @override
    def explainer_named(self, name: str) -> Explainer:
        return self.explainers[name]

    @override
    def on_test_epoch_end(self) -> None:
        log_figures(self, self.faithfulness, prefix="")
        self.curves = {
            name: log_figures(self, metrics, prefix=f"test/{name}/")  # type: ignore[arg-type]
            for name, metrics in zip(self.explainers, self.explainer_metrics, strict=True)
        }

    def _rows_of_explainers(self, batch: Batch) -> dict[str, Batch]:
        """By explainer, the images to explain with the logits of one pass; with heads of some classes, these alone."""
        logits = self.logits_of(batch["image"])
        known: Batch = {**batch, "logits": logits}
        return {
            name: explained_rows(known, self.explain, self.top_k, lambda _: logits, list(explainer.explained_classes))
            for name, explainer in self.explainers.items()
        }

    def _drawn(self, rows: Batch, target: Tensor | None) -> dict[str, Tensor]:
        """By kind, the maps of all attribution methods."""
        parts = []
        for part in _parts(rows):
            classes = target_classes(
                None if target is None else target[part], rows["logits"][part].argmax(dim=1), rows["logits"].shape[1]
            )
            methods = {kind: explainer.prepared_method() for kind, explainer in self._drawers.items()}
            parts.append(attribute_together(methods, rows["image"][part], classes))
        return {kind: torch.cat([part[kind].detach().float() for part in parts]) for kind in self._drawers}

    def _explained(self, explainer: Explainer, rows: Batch, drawn: dict[str, Tensor]) -> Explanation:
        """The explanation of a batch's rows; ``drawn`` keeps the maps that others will read."""
        target = self.target_of(rows)
        if isinstance(explainer, MapFileExplainer):
            return explainer.explanation_of_keys(rows["image"], rows["key"], rows["logits"], target)
        if not isinstance(explainer, AttributionExplainer):
            return explainer.explain(rows["image"], target)
        kind = _kind(explainer)
        if kind not in drawn:
            drawn.update(self._drawn(rows, target))
        maps = drawn[kind] if kind in self._shared else drawn.pop(kind)
        found = []
        for part in _parts(rows):
            given = rows["image"][part], rows["logits"][part], None if target is None else target[part]
            found.append(explainer.explanation_of_logits(*given, maps=maps[part]))
        return Explanation.cat(found)


def _parts(rows: Batch) -> list[slice]:
    """Slices of `AT_ONCE` rows."""
    return [slice(start, start + AT_ONCE) for start in range(0, len(rows["image"]), AT_ONCE)]


def _kind(explainer: Explainer) -> str:
    """What attribution explainers have in common that read the same maps; the empty word of any other."""
    if not isinstance(explainer, AttributionExplainer):
        return ""
    return json.dumps([explainer.options.method, dict(explainer.options.arguments)], sort_keys=True, default=repr)
