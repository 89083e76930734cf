"""SelectedFeaturesModule: dimensions of Z itself, the baselines of SRAE (section 4.2 of Qi, Khorram and Li 2018)."""

from dataclasses import fields, replace
from typing import Any

import torch
from pytorch_lightning.utilities.types import OptimizerLRScheduler
from torch import Tensor, nn
from typing_extensions import override

from lightning_modules.base import ExplainerModule
from lightning_modules.evaluated import faithfulness_metrics
from lightning_modules.heads import options_located
from lightning_modules.training_faithfulness import log_training_faithfulness
from vitrine.backbones.frozen import FrozenBackbone
from vitrine.backbones.networks import BackboneOptions
from vitrine.core.batch import Batch
from vitrine.explainers.srae.baselines import SelectedFeaturesExplainer, SelectionOptions
from vitrine.explainers.srae.explainer import SRAEOptions
from vitrine.explainers.srae.lasso_selection import LassoSelection, all_used, drawn_dimensions, strongest
from vitrine.explainers.srae.x_features import XFeatureOptions

SUMS_BYTES = 4 * 2**30
"""Sums of a pass in which each class is fitted on images of its own, in bytes."""


class SelectedFeaturesModule(ExplainerModule):
    """Chooses dimensions of Z for each class, in one pass over the data.

    ``lasso`` fits min 1/2 Σ p_i (wᵀZ_i + b − ŷ_i)² + α‖w‖₁ with weights p that add up to 1, and shows the n dimensions that
    contribute most to the class's own images, or all that have a weight. ``random`` shows n dimensions of Z that the seed
    draws. ``logit`` is for the classifier's last layer as Z and shows the class's own logit: excitation backprop on ŷ.

    Where the data set draws images for each class, by ``data.init_args.sampling``, the Lasso fits each class on its own; the
    sums of many classes then take several passes over the kept features, an epoch each.

    Args:
        backbone: the classifier to be explained.
        srae: the layer whose output is Z, and how its dimensions are drawn; ``num_features`` n are shown of a class. Heads
            and their sizes are not used, so that the configuration of an SRAE serves its baselines as it is.
        selection: how dimensions are chosen, and how many a class shows at most: one for ``logit``.
        kwargs: those of `ExplainerModule`: init_from, names; nothing here is optimised.

    Raises:
        ValueError: for ``logit`` on a layer that does not give the logits.
    """

    explainer: SelectedFeaturesExplainer

    def __init__(
        self,
        backbone: BackboneOptions,
        srae: SRAEOptions,
        selection: SelectionOptions = SelectionOptions(),  # noqa: B008 - frozen
        **kwargs: Any,
    ) -> None:
        options = XFeatureOptions.from_dict({f.name: getattr(srae, f.name) for f in fields(XFeatureOptions)})
        if selection.kind == "logit":
            options = replace(options, num_features=1)
        elif isinstance(selection.num_shown, int):
            options = replace(options, num_features=selection.num_shown)
        network = FrozenBackbone.from_options(backbone)
        with options_located("model.init_args.srae"):
            explainer = SelectedFeaturesExplainer(network, options)
        super().__init__(explainer, **kwargs)
        self.selection = selection
        self.fit: LassoSelection | None = None
        self.rows, self.is_last_pass = range(0), True
        self.contributions: Tensor | None = None
        self.train_faithfulness = faithfulness_metrics("train")
        self.val_faithfulness = faithfulness_metrics("val")
        self.automatic_optimization = False
        # DistributedDataParallel wants a parameter to look after; nothing here is learned by gradient.
        self.unused = nn.Parameter(torch.zeros(()))
        self.needs_checkpoint = self.needs_checkpoint and selection.kind == "lasso"
        self.size_for_heads()

    @override
    def size_for_heads(self) -> None:
        """Selects what no fit has to find."""
        explainer, selection = self.explainer, self.selection
        classes = len(explainer.explained_classes)
        if classes and selection.kind == "random":
            drawn = drawn_dimensions(classes, explainer.width, explainer.options.num_features, selection.seed)
            explainer.select(drawn)
        elif classes and selection.kind == "logit":
            _select_logits(explainer)

    @property
    @override
    def one_pass(self) -> bool:
        return True

    @property
    def fits_on_samples(self) -> bool:
        """Whether a datamodule may say, under ``sampled``, which images each class is fitted on."""
        return True

    @override
    def configure_optimizers(self) -> OptimizerLRScheduler:
        return None

    # The Lasso's passes over the data

    def _passes(self, *, sampled: bool) -> list[range]:
        """The heads that each pass fits: all in one, unless each class has images of its own and so sums of its own."""
        classes = len(self.explainer.explained_classes)
        width = self.explainer.width * self.explainer.positions + 1
        at_once = max(SUMS_BYTES // (8 * width**2), 1) if sampled else classes
        return [range(first, min(first + at_once, classes)) for first in range(0, classes, at_once)]

    def training_step(self, batch: Batch) -> None:
        """Takes in a batch."""
        if self.selection.kind != "lasso":
            return
        if self.fit is None:
            self._begin_pass(sampled="sampled" in batch)
        if self.fit is None or not len(batch["label"]):  # a rank that has fewer samples than others ends with none
            return
        features, logits = self.features_of(batch)
        explained = torch.tensor([self.explainer.explained_classes[row] for row in self.rows], device=logits.device)
        label = batch["label"]
        positive = label[:, explained] != 0 if label.ndim == 2 else label[:, None] == explained
        sampled = batch["sampled"][:, list(self.rows)] if "sampled" in batch else None
        self.fit.update(features, logits[:, explained], positive, sampled)

    def _begin_pass(self, *, sampled: bool) -> None:
        passes = self._passes(sampled=sampled)
        number = self.trainer.current_epoch % len(passes)  # a fit that goes on after its end is fitted anew
        epochs = self.trainer.max_epochs
        if epochs is not None and 0 <= epochs < len(passes):
            raise ValueError(
                f"trainer.max_epochs is {epochs}; give {len(passes)} or more: with data.init_args.sampling each pass over the"
                f" data takes {len(passes[0])} classes, whose sums fit into memory."
            )
        self.rows, self.is_last_pass = passes[number], number == len(passes) - 1
        width = self.explainer.width * self.explainer.positions
        self.fit = LassoSelection(len(self.rows), width, self.device, sampled=sampled)
        if number == 0:
            self.contributions = torch.zeros(len(self.explainer.explained_classes), width, device=self.device)
        elif self.contributions is not None:  # of earlier passes, which a checkpoint has on the CPU
            self.contributions = self.contributions.to(self.device)

    @override
    def on_train_batch_end(self, outputs: Any, batch: Any, batch_idx: int) -> None:
        """Solves after the last batch: validation comes before the epoch ends."""
        super().on_train_batch_end(outputs, batch, batch_idx)
        if self.trainer.is_last_batch and self.fit is not None and self.contributions is not None:
            fit, self.fit = self.fit, None
            weight = self.selection.positive_weight
            balance = None if weight == "balanced" else float(weight)
            heads, rows = self.explainer.heads, list(self.rows)
            found = fit.finish(self.selection.alpha, balance)
            heads.weights[rows], heads.bias[rows], self.contributions[rows] = found
            if self.is_last_pass:
                self._select(heads.weights.clone(), heads.bias.clone(), self.contributions)

    def _select(self, weights: Tensor, bias: Tensor, contributions: Tensor) -> None:
        every = self.selection.num_shown == "all"
        chosen = all_used(weights, contributions) if every else strongest(contributions, self.explainer.num_features)
        self.explainer.select(chosen, weights, bias)

    def validation_step(self, batch: Batch) -> None:
        """Faithfulness of the Lasso's estimates; nothing else estimates logits."""
        features, logits = self.features_of(batch)
        estimates = self.explainer.reconstruct_logits(features)
        if self.selection.kind != "lasso" or estimates is None or not self.is_last_pass:
            return
        explained = torch.tensor(self.explainer.explained_classes, device=logits.device)
        self.val_faithfulness.update(estimates, logits, explained)

    @override
    def on_validation_epoch_end(self) -> None:
        super().on_validation_epoch_end()
        self.log_faithfulness(self.val_faithfulness)

    @override
    def meaning_of_heads(self) -> dict[str, Any]:
        return super().meaning_of_heads() | {"kind": self.selection.kind}

    @override
    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        super().on_save_checkpoint(checkpoint)
        checkpoint["contributions"] = self.contributions

    @override
    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        self.explainer.resize_for(checkpoint.get("state_dict", {}), "explainer.")
        self.contributions = checkpoint.get("contributions")
        meaning = checkpoint.get("meaning_of_heads", {})
        if "selection" in meaning:  # what checkpoints written earlier call it
            checkpoint["meaning_of_heads"] = {"kind": meaning["selection"], **meaning}
        super().on_load_checkpoint(checkpoint)

    @override
    def on_train_epoch_end(self) -> None:
        """Ends the training; logs how many dimensions a class rests on, and the faithfulness on the training images."""
        super().on_train_epoch_end()
        self.trainer.should_stop = self.trainer.should_stop or self.is_last_pass
        if not self.is_last_pass:
            return
        used = (self.explainer.heads.weights != 0).sum(dim=1).float().mean()
        self.log("train/dimensions_per_class", used, rank_zero_only=True)
        if self.selection.kind == "lasso" and self.training_data is not None:
            batches = self.training_data.every_sample("train")
            log_training_faithfulness(self, self.train_faithfulness, self.explainer.reconstruct_logits, batches)

    @override
    def on_test_epoch_end(self) -> None:
        """Logs also how many dimensions are drawn of a class."""
        super().on_test_epoch_end()
        drawn = self.explainer.heads.alive.sum(dim=1).float().mean()
        self.log("test/dimensions_drawn", drawn, rank_zero_only=True)


def _select_logits(explainer: SelectedFeaturesExplainer) -> None:
    if explainer.width * explainer.positions != explainer.num_classes:
        raise ValueError(
            f"selection.kind logit needs the layer that gives the {explainer.num_classes} logits; layer"
            f" {explainer.options.layer!r} gives {explainer.width} numbers."
        )
    classes = torch.tensor(explainer.explained_classes)
    explainer.select(classes[:, None], torch.eye(explainer.num_classes)[classes])
