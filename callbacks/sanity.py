"""SanityCheck: whether an attribution method's maps depend on the weights that they are said to explain."""

import copy
import json
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, TypeVar

import pytorch_lightning as pl
import torch
from pytorch_lightning.utilities import rank_zero_warn
from torch import Tensor, nn
from typing_extensions import override

from callbacks.run_access import Run
from vitrine.attribution.registry import method_named
from vitrine.attribution.sanity import Attributor, SanityReport, sanity_check
from vitrine.attribution.sanity.report import THRESHOLD
from vitrine.backbones.guard import eval_guard
from vitrine.core.atomic_io import atomic_file
from vitrine.core.batch import Batch
from vitrine.core.distributed import gather_over_ranks
from vitrine.core.options import Count, OptionError, checked
from vitrine.explainers import Explainer

NAME = "sanity.json"
E = TypeVar("E", bound=Explainer)


class SanityCheck(pl.Callback):
    """Re-draws the backbone's layers from the top down and compares the maps (Adebayo et al., NeurIPS 2018).

    It runs before the first test batch, on a few fixed images, and logs ``test/sanity/METHOD/absolute_correlation`` and
    ``…/correlation`` (once all layers are re-drawn), ``…/similarity``, by which the method passes or fails
    (`SanityReport.similarity`), with the ends of its 95 % interval, ``…/similarity_low`` and ``…/similarity_high``, and
    ``…/degenerate``, the number of images whose last map is degenerate. ``sanity.json`` in the run's folder has all stages
    and the similarity of each image, by method; entries of other methods in it are kept. A method that fails is warned of.
    All ranks share the images out among them; rank zero writes. The module is not changed by it.

    `MapMeasures` measures the same of every image of a test, for the module's own explainer.

    Args:
        method: Name of an attribution method, such as ``GuidedBackprop``, which explains the backbone's predictions; null
            for the module's own explainer, whose heads stay as they are while the backbone below them is re-drawn.
        num_images: Number of images.
        stages: Degrees of randomisation, evenly spread over the layers.
        seed: Of the re-drawn weights.
        threshold: A method passes where its similarity is below it.
        options: Further arguments of the method, such as ``{layer: features}``.

    Raises:
        ValueError: For an unknown method, options without a method, and a number below 1; before the first batch, for a
            module without an explainer, and without a method for one with several.
    """

    RENAMED: ClassVar[Mapping[str, str]] = {"count": "num_images"}

    @checked
    def __init__(
        self,
        method: str | None = "ExcitationBackprop",
        num_images: Count = 8,
        stages: Count = 5,
        seed: int = 0,
        threshold: float = THRESHOLD,
        options: dict[str, Any] | None = None,
    ) -> None:
        super().__init__()
        if method is None and options:
            raise OptionError("options", options, "none without a method, whose arguments they are")
        self.method = method
        self.make_method = None if method is None else partial(method_named(method), **(options or {}))
        self.options = dict(options or {})
        self.num_images, self.stages, self.seed, self.threshold = num_images, stages, seed, threshold

    @override
    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Refuses a module with several explainers, where the module's own explainer is checked."""
        if self.method is None:
            Run(trainer, pl_module, self).check_alone()

    @override
    def on_test_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Runs the check, logs its figures, writes the file and warns."""
        run = Run(trainer, pl_module, self)
        explainer = run.explainer
        if not isinstance(explainer, Explainer):
            raise run.refusal("a module with an explainer on a frozen backbone", pl_module)
        with eval_guard(pl_module, freeze=False, every_generator=True):
            batch = run.datamodule.panel(self.num_images)
            report = joined(gather_over_ranks(self._share(run, explainer, batch)))
        name = self.method or type(explainer).__name__
        # Gathered on all ranks, so every rank logs the same figures.
        pl_module.log_dict(figures(report, f"test/sanity/{name}"), rank_zero_only=True)
        if trainer.is_global_zero:
            self._write(run.folder / NAME, name, report, batch)
        if not report.passes(self.threshold):
            rank_zero_warn(report.verdict(name, self.threshold))

    def _share(self, run: Run, explainer: Explainer, batch: Batch) -> SanityReport | None:
        """The report on this rank's images; None where none is left for it."""
        # Without autocast: ranks would tie where products have few bits.
        images = run.share(batch["image"])
        return self._check(explainer, images) if len(images) else None

    def _check(self, explainer: Explainer, images: Tensor) -> SanityReport:
        make_method: Callable[[nn.Module], Attributor]
        if self.make_method is None:
            # The class that the explainer takes by itself: that of the backbone may have no head.
            target: Tensor | None = explainer.explain(images).target
            make_method = partial(on_backbone, explainer)
        else:
            target, make_method = None, self.make_method
        model = explainer.backbone.model
        return sanity_check(make_method, model, images, target, stages=self.stages, seed=self.seed)

    def _write(self, path: Path, name: str, report: SanityReport, batch: Batch) -> None:
        entry = {
            "options": self.options,
            "seed": self.seed,
            "images": list(batch["key"]),
            **report.to_dict(self.threshold),
        }
        others = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
        with atomic_file(path) as partial_file:
            text = json.dumps({**others, name: entry}, indent=2, ensure_ascii=False)
            partial_file.write_text(f"{text}\n", encoding="utf-8")


def on_backbone(explainer: E, model: nn.Module) -> E:
    """A copy of an explainer that explains another network of the same kind, with the same heads."""
    # The memo puts the other network's modules in the place of the backbone's, also where the explainer names a layer.
    places = {id(module): model.get_submodule(name) for name, module in explainer.backbone.model.named_modules()}
    return copy.deepcopy(explainer, places)


def joined(shares: Sequence[SanityReport | None]) -> SanityReport:
    """Puts the shares ``[rank::world]`` back into one report, in the images' order."""
    present = [share for share in shares if share is not None]
    images = [len(share.image_correlation[0]) for share in present]
    order = torch.cat([torch.arange(count) * len(shares) + rank for rank, count in enumerate(images)])
    return SanityReport.cat(present)[order.argsort()]


def figures(report: SanityReport, prefix: str) -> dict[str, float]:
    """What is logged, by name."""
    low, high = report.interval()
    return {
        f"{prefix}/correlation": float(report.correlation[-1]),
        f"{prefix}/absolute_correlation": float(report.absolute_correlation[-1]),
        f"{prefix}/similarity": report.similarity,
        f"{prefix}/similarity_low": low,
        f"{prefix}/similarity_high": high,
        f"{prefix}/degenerate": float(report.degenerate[-1]),
    }
