"""SRAEModule: trains the heads of sparse reconstruction autoencoders (Qi, Khorram and Li 2018), and their baselines."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from pytorch_lightning.utilities import rank_zero_warn
from torch import Tensor, nn
from torchmetrics import Metric
from typing_extensions import override

from lightning_modules.class_weights import class_weight, image_weights
from lightning_modules.evaluated import faithfulness_metrics
from lightning_modules.grouped_fit import GroupedFitModule, Samples
from lightning_modules.heads import drawn_by, options_located
from lightning_modules.training_faithfulness import log_training_faithfulness
from vitrine.backbones.frozen import FrozenBackbone
from vitrine.backbones.networks import BackboneOptions
from vitrine.core.batch import Batch
from vitrine.core.distributed import world_size
from vitrine.core.options import OptionError
from vitrine.explainers.srae.explainer import SRAEExplainer, SRAEOptions
from vitrine.explainers.srae.fit import decayed
from vitrine.explainers.srae.heads import SeparateHeads, SharedHeads
from vitrine.explainers.srae.losses import greedy_loss
from vitrine.explainers.srae.objectives import SRAETraining, Terms, terms_of_heads
from vitrine.explainers.srae.predictor_fit import PredictorSamples, fit_predictors
from vitrine.explainers.srae.training_pass import TrainingPass
from vitrine.metrics.alive_features import AliveFeatures, alive_counts, dead_heads


class SRAEModule(GroupedFitModule):
    """Trains the heads of all chosen classes side by side, from one pass over the data an epoch.

    The loss of each head is equation 5: faithfulness + β · sparse reconstruction + η · pull-away, and λ₁, λ₂, λ₃ times the
    squared norms of encoder, decoder and predictor, which Adam adds to the gradient. Separate heads share no parameter, so
    their sum trains each as if it were alone.

    Args:
        backbone: the classifier to be explained.
        srae: what is explained, how it is drawn, and the heads' sizes.
        training: the objective, the weights of its terms, and the order of the fit.
        kwargs: those of `ExplainerModule`: optimizer, lr_scheduler, init_from, names.

    Raises:
        ValueError: for options that do not go together.
    """

    explainer: SRAEExplainer

    def __init__(
        self,
        backbone: BackboneOptions,
        srae: SRAEOptions,
        training: SRAETraining = SRAETraining(),  # noqa: B008 - frozen
        **kwargs: Any,
    ) -> None:
        _check(srae, training)
        options = replace(srae, decoder=training.terms.has_decoder)
        network = FrozenBackbone.from_options(backbone)
        with options_located("model.init_args.srae"), drawn_by(training.seed):
            explainer = SRAEExplainer(network, options)
        super().__init__(explainer, training.classes_at_once, **kwargs)
        self.train_options, self.objective = training, training.terms
        self._last_pass: TrainingPass | None = None
        self.train_faithfulness = faithfulness_metrics("train")
        self.val_faithfulness = faithfulness_metrics("val")

    @override
    def size_for_heads(self) -> None:
        super().size_for_heads()
        classes, num_features = len(self.explainer.explained_classes), self.explainer.options.num_features
        self.alive_features = AliveFeatures(classes, num_features)
        self.mean_contributions = torch.full((classes, num_features), torch.nan)

    @override
    def explain_classes(self, classes: Sequence[int]) -> None:
        with drawn_by(self.train_options.seed):
            super().explain_classes(classes)

    @override
    def redraw_heads(self) -> None:
        with drawn_by(self.train_options.seed):
            super().redraw_heads()

    @property
    def heads(self) -> SeparateHeads | SharedHeads:
        """The heads, in the order of the explained classes."""
        return self.explainer.heads

    @override
    def meaning_of_heads(self) -> dict[str, Any]:
        return super().meaning_of_heads() | {"objective": self.train_options.objective}

    # What is trained

    @override
    def head_parameters(self, row: int) -> list[nn.Parameter]:
        network = self.heads if isinstance(self.heads, SharedHeads) else self.heads[row]
        # Predictors that are fitted afterwards get no gradient, which DistributedDataParallel would wait for.
        predictors = () if self.objective.faithful else ("predictor",)
        return [value for name, value in network.named_parameters() if not name.startswith(predictors)]

    @property
    def _networks(self) -> list[Any]:
        """What has an encoder, a decoder and a predictor of its own, as far as it is trained now."""
        return [self.heads] if isinstance(self.heads, SharedHeads) else [self.heads[row] for row in self.active_rows]

    @override
    def parameter_groups(self) -> Iterable[dict[str, Any]]:
        """Encoders, decoders and predictors apart, each with its own decay."""
        yield from decayed(self._networks, self.train_options)
        if not self.active_rows:  # an optimizer wants a parameter
            yield {"params": [self.unused]}

    @override
    def setup(self, stage: str) -> None:
        super().setup(stage)
        if stage == "fit" and self.train_options.pretraining_epochs:
            if world_size() > 1 and not self.is_grouped:
                self._check_finds_unused()
            self._check_epochs_are_left()
        if stage == "fit":
            trained = {value for row in self.active_rows for value in self.head_parameters(row)}
            for parameter in self.heads.parameters():
                parameter.requires_grad_(parameter in trained)

    def _check_epochs_are_left(self) -> None:
        layers, epochs = len(self.explainer.options.hidden) + 1, self.trainer.max_epochs or 0
        needed, available = layers * self.train_options.pretraining_epochs, self.epochs_of_group or epochs
        if 0 <= available <= needed:
            raise ValueError(
                f"training.pretraining_epochs {self.train_options.pretraining_epochs} for each of {layers} layers takes"
                f" {needed} epochs, which leaves none of trainer.max_epochs {available} to train all together; give more, or"
                " less pretraining."
            )

    def _check_finds_unused(self) -> None:
        if not getattr(self.trainer.strategy, "_ddp_kwargs", {}).get("find_unused_parameters"):
            raise ValueError(
                "pretraining_epochs trains some layers before others, which trainer.strategy ddp does not expect; set it to"
                " ddp_find_unused_parameters_true, or set model.init_args.training.classes_at_once."
            )

    # Steps

    def training_step(self, batch: Batch) -> Tensor:
        """Equation 5, summed over heads; before it, where there is pretraining, the error of one layer's autoencoder."""
        samples = self.global_samples(batch)
        loss = self._pretraining_loss(samples) if self._pretrained_layer is not None else self._loss(samples)
        # A parameter that DistributedDataParallel looks after has to take part.
        return loss + 0 * self.unused if self.is_grouped else loss

    def _loss(self, samples: Samples) -> Tensor:
        weights = self.image_weights(samples)
        one_pass = self._shared_pass if isinstance(self.heads, SharedHeads) else self._separate_pass
        terms, contributions, estimates = one_pass(samples, weights)
        self._measure(contributions, estimates, samples)
        loss = terms.total(self.train_options.beta, self.train_options.eta)
        self._log_means({"loss": loss} | {f"loss/{name}": term for name, term in terms._asdict().items()}, samples)
        return loss

    def _separate_pass(self, samples: Samples, weights: Tensor) -> tuple[Terms, Tensor, Tensor]:
        """Summed terms, (B, J', n) contributions and (B, J') estimates of the heads that are trained now."""
        if not self.active_rows:  # a rank may have no head left in the last group, and takes part in what is logged
            return Terms(*weights.new_zeros(3)), weights.new_zeros(*weights.shape, self.explainer.num_features), weights
        terms, contributions, estimates = self._pass(
            samples.features, samples.logits, weights, across_ranks=self.across_ranks
        )
        return terms.summed(), contributions, estimates

    @property
    def _pass(self) -> TrainingPass:
        """Through the heads that are trained now."""
        networks = self._networks
        if self._last_pass is None or self._last_pass.heads != networks:
            training = self.train_options
            self._last_pass = TrainingPass(networks, self.objective, training.q, training.pull_away_over)
        return self._last_pass

    def _shared_pass(self, samples: Samples, weights: Tensor) -> tuple[Terms, Tensor, Tensor]:
        """As `_separate_pass`; the one reconstruction weighs as much as those of all heads would."""
        heads = self._networks[0]
        output = heads(samples.features)
        total = terms_of_heads(
            self.objective,
            output,
            samples.logits,
            None,
            weights,
            pull_away_over=self.train_options.pull_away_over,
            across_ranks=self.across_ranks,
        ).summed()
        if output.decoded is not None:
            error = self.objective.reconstruction_error(
                output.decoded.float(),
                heads.rows_of(samples.features),
                self.train_options.q,
                None,
                across_ranks=self.across_ranks,
            )
            total = total._replace(reconstruction=error * len(self.active_rows))
        return total, output.embeddings * heads.predictors(), output.estimates

    def image_weights(self, samples: Samples) -> Tensor:
        """(B, J') weight of each image in the means of each head; 0 where it is not among that head's samples."""
        return image_weights(samples, [self._class_weight(row) for row in self.active_rows])

    def _class_weight(self, row: int, *, sampled: bool = True) -> float:
        index = self.explainer.explained_classes[row]
        return class_weight(self.train_options.positive_weight, self.training_data, row, index, sampled=sampled)

    def training_samples(self) -> Iterable[Batch]:
        """Each training sample once over all ranks."""
        data = self.training_data
        return self.trainer.train_dataloader or () if data is None else data.every_sample("train")

    @torch.no_grad()
    def _predictor_samples(self) -> Iterator[PredictorSamples]:
        """Each training sample once over all ranks, for predictors that are fitted afterwards."""
        weights = torch.tensor([self._class_weight(row, sampled=False) for row in range(len(self.explained))])
        for batch in self.training_samples():
            moved = self.moved(batch)
            features, logits = self.features_of(moved)
            if not len(features):
                continue
            positive = self.positives(moved["label"])
            balanced = torch.where(positive, weights.to(self.device), 1.0)
            yield PredictorSamples(features, logits[:, self.explained], positive, balanced)

    # Pretraining

    @property
    def _pretrained_layer(self) -> int | None:
        """Which layer of the autoencoders is trained in this epoch; None where all are trained together."""
        if not self.train_options.pretraining_epochs:
            return None
        layer = self.epoch_of_schedule // self.train_options.pretraining_epochs
        return layer if layer <= len(self.explainer.options.hidden) else None

    def _pretraining_loss(self, samples: Samples) -> Tensor:
        loss = samples.features.new_zeros(())
        for column, network in enumerate(self._networks):
            inputs, weights = network.rows_of(samples.features), None
            if samples.sampled is not None and not isinstance(network, SharedHeads):
                weights = samples.sampled[:, column].to(inputs).repeat_interleave(network.positions)
            loss = loss + greedy_loss(
                network.encoder,
                network.decoder,
                inputs,
                self._pretrained_layer or 0,
                weights=weights,
                across_ranks=self.across_ranks,
            )
        self._log_means({"pretraining_loss": loss}, samples)
        return loss

    # What is measured

    def _log_means(self, sums: dict[str, Tensor], samples: Samples) -> None:
        heads = len(self.active_rows)
        means = {f"train/{name}": value.detach() / max(heads, 1) for name, value in sums.items()}
        # In groups, ranks may have different numbers of heads, and the last one none.
        self.log_means(means, len(samples.features) * heads)

    def _measure(self, contributions: Tensor, estimates: Tensor, samples: Samples) -> None:
        rows = self.active_rows
        if not self.objective.faithful:  # v is not known yet
            return
        if rows:
            self.train_faithfulness.update(estimates, samples.all_logits, self.explained[rows])
        self.log_dict(dict(self.train_faithfulness.items(keep_base=False)), on_step=False, on_epoch=True)
        self.alive_features.update(contributions, samples.positive, rows)

    @override
    def training_metrics(self) -> Mapping[str, Metric]:
        faithfulness = {name: metric for name, metric in self.train_faithfulness.items() if isinstance(metric, Metric)}
        return {**faithfulness, "alive_features": self.alive_features}

    def on_train_epoch_end(self) -> None:
        """Logs how many x-features are alive, and how many heads are dead; fits predictors that were left out."""
        super().on_train_epoch_end()
        if not self.objective.faithful and self.training_ends:  # here, so that the last checkpoint has them
            self.share_heads()
            self.mean_contributions = fit_predictors(self.heads, self._predictor_samples())
            log_training_faithfulness(self, self.train_faithfulness, self.heads.estimates, self.training_samples())
        if not self.knows_contributions:
            return
        means = self.alive_features.compute()
        measured = ~means.isnan().any(dim=1)
        self.mean_contributions[measured.cpu()] = means[measured].float().cpu()
        alive = alive_counts(means[measured])
        self.log("train/alive_features", alive.float().mean(), rank_zero_only=True)
        self.log("train/dead_heads", float(len(dead_heads(means))), rank_zero_only=True)

    def validation_step(self, batch: Batch) -> None:
        """Faithfulness of the heads that were trained so far; no heatmap is drawn, so stored features are enough.

        Nothing is measured while predictors that are fitted afterwards are not there yet.
        """
        if self.is_fitting and not self.objective.faithful:
            return
        features, logits = self.features_of(batch)
        rows = self.groups.begun(self.group)
        self.val_faithfulness.update(self.heads.estimates(features)[:, rows], logits, self.explained[rows])

    @override
    def on_validation_epoch_end(self) -> None:
        super().on_validation_epoch_end()
        self.log_faithfulness(self.val_faithfulness)

    @property
    def knows_contributions(self) -> bool:
        """Whether this epoch measures contributions of x-features: not in pretraining, nor where v is fitted at last."""
        return self.objective.faithful and self._pretrained_layer is None

    def contributions_of_settings(self) -> dict[str, Tensor]:
        """(J, n) mean contributions in this epoch of the one setting, whose name is empty; a collective."""
        return {"": self.alive_features.compute()}

    @property
    def of_settings(self) -> Mapping[str, SRAEExplainer]:
        """The explainer of the one setting, whose name is empty."""
        return {"": self.explainer}

    def restart_head(self, row: int, generator: torch.Generator, name: str = "") -> None:  # noqa: ARG002 - of one setting
        """Draws a head's weights anew and forgets what the optimizer knew of them.

        Raises:
            ValueError: for heads on a shared trunk.
        """
        if isinstance(self.heads, SharedHeads):
            raise ValueError(
                "Heads on a shared trunk cannot be restarted alone; take model.init_args.srae.trunk: separate."
            )
        self.heads[row].reset(generator)
        self.forget_moments(self.heads[row])

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Adds what is known of the heads of groups that are done."""
        super().on_save_checkpoint(checkpoint)
        checkpoint["mean_contributions"] = self.mean_contributions

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Takes over what is known of heads."""
        super().on_load_checkpoint(checkpoint)
        saved = checkpoint.get("mean_contributions", self.mean_contributions)
        if saved.shape == self.mean_contributions.shape:  # other heads are refused when their tensors are read
            self.mean_contributions = saved

    def on_fit_end(self) -> None:
        """Warns of heads that stayed degenerate."""
        super().on_fit_end()
        rows = dead_heads(self.mean_contributions)
        names = ", ".join(self.explainer.class_name(self.explainer.explained_classes[row]) for row in rows)
        if rows and self.objective.faithful:
            rank_zero_warn(
                f"{len(rows)} of {len(self.explained)} heads have fewer than 2 x-features with a positive mean contribution:"
                f" {names}. They say no more than the logit itself; longer training may mend them."
            )

    def metadata(self) -> dict[str, Any]:
        """Adds each class's number of alive x-features to the exported explainer."""
        counts = alive_counts(self.mean_contributions).tolist()
        classes = [self.explainer.class_name(index) for index in self.explainer.explained_classes]
        return super().metadata() | {"alive_features": dict(zip(classes, counts, strict=True))}


def _check(srae: SRAEOptions, training: SRAETraining) -> None:
    if not srae.decoder and training.terms.has_decoder:
        raise OptionError("srae.decoder", srae.decoder, f"true: objective {training.objective} rebuilds Z")
    if srae.trunk == "shared" and training.classes_at_once is not None:
        remedy = "null: it splits separate heads, and srae.trunk is shared"
        raise OptionError("training.classes_at_once", training.classes_at_once, remedy)
