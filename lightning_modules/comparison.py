"""ComparisonModule: several explainers of one network, tested in one pass over the data."""

import json
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from typing_extensions import override

from lightning_modules.evaluated import faithfulness_metrics, metrics_of
from lightning_modules.explained import explained_rows, first_of_each_image, joined_of_each_image
from lightning_modules.heads import check_drawable, options_located
from lightning_modules.measured import log_figures, measured
from lightning_modules.untrained import UntrainedModule
from vitrine.attribution.together import attribute_together
from vitrine.backbones.frozen import FrozenBackbone
from vitrine.backbones.networks import BackboneOptions
from vitrine.core.batch import Batch
from vitrine.core.explanation import Explanation
from vitrine.core.options import NonNegative, OptionError, Options
from vitrine.data.contracts import ExplanationData
from vitrine.explainers import Explainer, load
from vitrine.explainers.attribution import AttributionExplainer, AttributionOptions
from vitrine.explainers.attribution.explainer import Reduction
from vitrine.explainers.base import target_classes
from vitrine.explainers.map_files import MapFileExplainer, MapFileOptions

AT_ONCE = 16
"""Images that a method explains at once; a bound on memory that changes no result."""


@dataclass(frozen=True)
class ComparedExplainer(Options):
    """One explainer of a comparison: an attribution method with its options, an exported explainer, or maps in files.

    Args:
        method: of `AttributionOptions`; null where ``folder`` is given.
        arguments: of `AttributionOptions`.
        reduction: of `AttributionOptions`.
        sigma: of `AttributionOptions`.
        folder: that an explainer of the same network was exported to, such as ``runs/quickstart/explainer``.
        maps: folder of grey pictures that another program made of the test images, each named as its image.
    """

    method: str | None = None
    arguments: Mapping[str, Any] = field(default_factory=dict)
    reduction: Reduction = "method"
    sigma: NonNegative = 0.0
    folder: str | Path | None = None
    maps: str | Path | None = None

    def made(self, network: FrozenBackbone) -> Explainer:
        """The explainer on the network that all explainers of a comparison share.

        Raises:
            OptionError: for none or several of a method, a folder and maps, and options that the method refuses.
            FileNotFoundError: where the folder holds no explainer, or no maps.
            ValueError: where it was trained on another network.
        """
        if [self.method, self.folder, self.maps].count(None) != 2:
            raise OptionError("method", self.method, "a method of vitrine.attribution, or the folder of an explainer")
        if self.maps is not None:
            return MapFileExplainer(network, MapFileOptions(self.maps))
        if self.method is None:
            return load(self.folder or "", backbone=network)
        return AttributionExplainer(
            network, AttributionOptions(self.method, self.arguments, self.reduction, self.sigma)
        )


class ComparisonModule(UntrainedModule):
    """Tests and applies several explainers of one network in one pass over the data; there is nothing to fit.

    All measure the same images, whose logits are computed once for all attribution methods (exported explainers run the
    network themselves); so are the maps of a method that several explainers read in other ways, by another ``reduction`` or
    ``sigma``. Methods whose rules are decided in the backward pass share one forward pass (see `attribute_together`). A test
    logs ``test/NAME/FIGURE`` of each, writes what a test of one explainer writes into the run's
    ``explainers/NAME``, and a table of all of them (``compare.csv``, ``.md``, ``.html``).

    Args:
        backbone: the classifier to be explained.
        explainers: by name, which becomes a folder's, attribution methods and exported explainers.
        kwargs: those of `ExplainerModule`: class_map, explain, top_k, metrics; nothing here is optimised.

    Raises:
        ValueError: without an explainer, and for names that are no folder's.
    """

    untrained = "A comparison of explainers"

    def __init__(self, backbone: BackboneOptions, explainers: dict[str, ComparedExplainer], **kwargs: Any) -> None:
        network = FrozenBackbone.from_options(backbone)
        if not explainers:
            raise OptionError("explainers", "{}", "at least one explainer by its name")
        made: dict[str, Explainer] = {}
        for name, entry in explainers.items():
            if not name or name.startswith(".") or set(name) & set("/\\:\0"):
                raise OptionError("explainers", name, "names that a folder may have, without / \\ : and a leading dot")
            with options_located(f"model.init_args.explainers.{name}"):
                made[name] = entry.made(network)
        super().__init__(next(iter(made.values())), **kwargs)
        self.explainers = made
        kinds = Counter(_kind(explainer) for explainer in made.values())
        self._shared = {kind for kind, count in kinds.items() if kind and count > 1}
        self._drawers: dict[str, AttributionExplainer] = {}
        for explainer in made.values():
            if isinstance(explainer, AttributionExplainer):
                self._drawers.setdefault(_kind(explainer), explainer)
        self._registered = nn.ModuleList(made.values())
        self.faithfulness = [faithfulness_metrics(f"test/{name}") for name in made]
        self._of_explainers = nn.ModuleList(self.faithfulness)
        self.explainer_metrics = nn.ModuleList()

    @override
    def _check_drawable(self) -> None:
        checked: set[str] = set()
        for name, explainer in self.explainers.items():
            if _kind(explainer) not in checked:
                check_drawable(explainer, f"model.init_args.explainers.{name}")
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
