"""Explains by dimensions of Z itself: what SRAE heads are compared with (section 4.2 of Qi, Khorram and Li 2018)."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import torch
from pytorch_lightning.utilities.types import OptimizerLRScheduler
from torch import nn
from typing_extensions import override

from lightning_modules.base import ExplainerModule, faithfulness_metrics
from lightning_modules.heads import check_at_least_0, check_positive_weight
from vitrine.backbones.frozen import FrozenBackbone
from vitrine.backbones.networks import BackboneOptions
from vitrine.core.batch import Batch
from vitrine.explainers.srae.baselines import SelectedFeaturesExplainer
from vitrine.explainers.srae.lasso_selection import LassoSelection, drawn_dimensions, strongest


class SelectedFeaturesModule(ExplainerModule):
    """Chooses dimensions of Z for each class, in one pass over the data.

    ``lasso`` fits min 1/2 Σ p_i (wᵀZ_i + b − ŷ_i)² + α‖w‖₁ with weights p that add up to 1, and shows the n dimensions that
    contribute most to the class's own images. ``random`` shows n dimensions of Z that the seed draws. ``logit`` is for the
    classifier's last layer as Z and shows the class's own logit: excitation backprop on ŷ.

    Args:
        backbone: the classifier to be explained.
        layer: dotted name of the layer whose output is Z.
        selection: how dimensions are chosen.
        alpha: α of the Lasso, as scikit-learn counts it.
        num_features: n, dimensions shown a class; one for ``logit``.
        positive_weight: weight of a class's own images in the Lasso, ``balanced`` for as much as all others together.
        seed: of ``random``.
        pooling: how the layer's activation becomes a vector.
        explained_classes: indices of the classes; all without it.
        contrastive: whether heatmaps are c-MWP, as in the paper, or MWP.
        negative_activations: how excitation backprop treats negative activations.
        draw_inactive: whether an x-feature that is 0 on an image gets a heatmap there too.
        image_size: side of the backbone's input in pixels.
        init_from: folder of an exported explainer whose dimensions are taken over.
        names: file with names for the dimensions; ``explainer/names.yaml`` in the run's folder without it.

    Raises:
        ValueError: for a number out of range, and for ``logit`` on a layer that does not give the logits.
    """

    explainer: SelectedFeaturesExplainer

    def __init__(
        self,
        backbone: BackboneOptions,
        layer: str,
        selection: Literal["lasso", "random", "logit"] = "lasso",
        alpha: float = 0.5,
        num_features: int = 5,
        positive_weight: float | Literal["balanced"] = "balanced",
        seed: int = 0,
        pooling: Literal["average", "flatten", "none"] = "average",
        explained_classes: Sequence[int] | None = None,
        contrastive: bool = True,
        negative_activations: Literal["clamp", "raw", "zplus"] = "clamp",
        draw_inactive: bool = False,
        image_size: int = 224,
        init_from: str | Path | None = None,
        names: str | Path | None = None,
    ) -> None:
        check_at_least_0(alpha=alpha)
        check_positive_weight(positive_weight)
        explainer = SelectedFeaturesExplainer(
            FrozenBackbone.from_options(backbone),
            layer,
            explained_classes=explained_classes,
            num_features=1 if selection == "logit" else num_features,
            pooling=pooling,
            contrastive=contrastive,
            negative_activations=negative_activations,
            draw_inactive=draw_inactive,
            image_size=image_size,
        )
        super().__init__(explainer, lr=0.0, init_from=init_from, names=names)
        self.selection = selection
        self.alpha = alpha
        self.positive_weight = positive_weight
        self.fit: LassoSelection | None = None
        self.val_faithfulness = faithfulness_metrics("val")
        self.automatic_optimization = False
        # DistributedDataParallel wants a parameter to look after; nothing here is learned by gradient.
        self.unused = nn.Parameter(torch.zeros(()))
        self.needs_checkpoint = selection == "lasso" and init_from is None
        if selection == "random":
            explainer.select(drawn_dimensions(len(explainer.explained_classes), explainer.width, num_features, seed))
        elif selection == "logit":
            _select_logits(explainer)

    @property
    def one_pass(self) -> bool:
        """Tells a datamodule to give each training sample once, in any order."""
        return True

    @override
    def configure_optimizers(self) -> OptimizerLRScheduler:
        return None

    @override
    def on_train_start(self) -> None:
        if self.selection == "lasso":
            width = self.explainer.width * self.explainer.positions
            self.fit = LassoSelection(len(self.explainer.explained_classes), width, self.device)

    def training_step(self, batch: Batch) -> None:
        """Takes in a batch."""
        if self.fit is None or not len(batch["label"]):  # a rank that has fewer samples than others ends with none
            return
        features, logits = self.features_of(batch)
        explained = torch.tensor(self.explainer.explained_classes, device=logits.device)
        label = batch["label"]
        positive = label[:, explained] != 0 if label.ndim == 2 else label[:, None] == explained
        self.fit.update(features, logits[:, explained], positive)

    @override
    def on_train_batch_end(self, outputs: Any, batch: Any, batch_idx: int) -> None:
        """Solves after the last batch: validation comes before the epoch ends."""
        if self.trainer.is_last_batch and self.fit is not None:
            fit, self.fit = self.fit, None
            weight = None if self.positive_weight == "balanced" else float(self.positive_weight)
            weights, bias, contributions = fit.finish(self.alpha, weight)
            self.explainer.select(strongest(contributions, self.explainer.num_features), weights, bias)

    def validation_step(self, batch: Batch) -> None:
        """Faithfulness of the Lasso's estimates; nothing else estimates logits."""
        features, logits = self.features_of(batch)
        estimates = self.explainer.reconstruct_logits(features)
        if self.selection != "lasso" or estimates is None:
            return
        explained = torch.tensor(self.explainer.explained_classes, device=logits.device)
        self.val_faithfulness.update(estimates, logits, explained)
        self.log_dict(dict(self.val_faithfulness.items(keep_base=False)), on_step=False, on_epoch=True)

    @override
    def meaning_of_heads(self) -> dict[str, Any]:
        return super().meaning_of_heads() | {"selection": self.selection}

    @override
    def on_train_epoch_end(self) -> None:
        """Ends the training; logs how many dimensions a class rests on."""
        self.trainer.should_stop = True
        used = (self.explainer.heads.weights != 0).sum(dim=1).float().mean()
        self.log("train/dimensions_per_class", used, rank_zero_only=True)


def _select_logits(explainer: SelectedFeaturesExplainer) -> None:
    if explainer.width * explainer.positions != explainer.num_classes:
        raise ValueError(
            f"selection logit needs the layer that gives the {explainer.num_classes} logits; layer"
            f" {explainer.features.layer!r} gives {explainer.width} numbers."
        )
    classes = torch.tensor(explainer.explained_classes)
    explainer.select(classes[:, None], torch.eye(explainer.num_classes)[classes])
