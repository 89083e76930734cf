"""Fits the heads of sparse reconstruction autoencoders (Qi, Khorram and Li 2018), and the networks they are compared with."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Literal

import torch
from pytorch_lightning.utilities import rank_zero_warn
from torch import Tensor, nn
from typing_extensions import override

from lightning_modules.base import faithfulness_metrics
from lightning_modules.grouped_fit import GroupedFitModule, Samples
from lightning_modules.heads import check_above_0, check_at_least_0, check_positive_weight
from lightning_modules.predictor_fit import fit_predictors
from vitrine.backbones.frozen import FrozenBackbone
from vitrine.backbones.networks import BackboneOptions
from vitrine.core.batch import Batch
from vitrine.core.distributed import world_size
from vitrine.explainers.srae.explainer import SRAEExplainer
from vitrine.explainers.srae.heads import HeadOutput, SeparateHeads, SharedHeads
from vitrine.explainers.srae.losses import greedy_loss
from vitrine.explainers.srae.objectives import OBJECTIVES, Terms, head_terms, sum_of, terms_of_heads
from vitrine.metrics.alive_features import AliveFeatures, alive_counts, dead_heads


class SRAEModule(GroupedFitModule):
    """Trains the heads of all chosen classes side by side, from one pass over the data an epoch.

    The loss of each head is equation 5: faithfulness + β · sparse reconstruction + η · pull-away, and λ₁, λ₂, λ₃ times the
    squared norms of encoder, decoder and predictor, which Adam adds to the gradient. Separate heads share no parameter, so
    their sum trains each as if it were alone.

    Args:
        backbone: the classifier to be explained.
        layer: dotted name of the layer whose output is Z.
        objective: ``srae``, or what it is compared with: ``nn`` (faithfulness alone), ``sae`` (faithfulness and plain
            reconstruction), ``cae`` (plain reconstruction alone, and a predictor that is fitted afterwards).
        pooling: how its activation becomes a vector: average, flatten, positions (Z of each position) or none.
        explained_classes: indices of the classes that get a head; all without it.
        num_features: n, x-features a class.
        hidden: widths of the encoder between Z and the x-features.
        trunk: ``separate`` encoders, as in the paper, or one that all classes have ``shared``.
        beta: β, weight of the reconstruction.
        eta: η, weight of the pull-away term.
        q: sparsity of the reconstruction.
        pull_away_over: compare x-features over ``images`` (the paper) or images over ``features``.
        encoder_decay: λ₁, weight of the encoder's squared norm.
        decoder_decay: λ₂, weight of the decoder's.
        predictor_decay: λ₃, weight of the predictor's.
        positive_weight: weight of a class's own images in the means of its head, ``balanced`` for as much as all others
            together.
        pretraining_epochs: epochs for each layer of the autoencoder, from Z on, before all are trained together; they are the
            first of ``max_epochs``.
        classes_at_once: heads that each rank fits at once, group after group, each for ``max_epochs``: a bound on memory.
            Classes are dealt out to the ranks, and each rank's heads see the whole global batch. All at once without it.
        contrastive: whether heatmaps are c-MWP, as in the paper, or MWP.
        negative_activations: how excitation backprop treats negative activations.
        draw_inactive: whether an x-feature that is 0 on an image gets a heatmap there too.
        image_size: side of the backbone's input in pixels.
        lr: learning rate of Adam.
        lr_schedule: ``constant`` or ``cosine`` (to 0 over all epochs).
        init_from: folder of an exported explainer whose heads are taken over before training, for fine-tuning.
        names: file with names for the x-features; ``explainer/names.yaml`` in the run's folder without it.

    Raises:
        ValueError: for a number out of range, and for options that do not go together.
    """

    explainer: SRAEExplainer

    def __init__(
        self,
        backbone: BackboneOptions,
        layer: str,
        objective: Literal["srae", "nn", "sae", "cae"] = "srae",
        pooling: Literal["average", "flatten", "positions", "none"] = "average",
        explained_classes: Sequence[int] | None = None,
        num_features: int = 5,
        hidden: Sequence[int] = (800, 100),
        trunk: Literal["separate", "shared"] = "separate",
        beta: float = 5.0,
        eta: float = 0.5,
        q: float = 1.0,
        pull_away_over: Literal["images", "features"] = "images",
        encoder_decay: float = 1e-5,
        decoder_decay: float = 1e-5,
        predictor_decay: float = 1e-5,
        positive_weight: float | Literal["balanced"] = "balanced",
        pretraining_epochs: int = 0,
        classes_at_once: int | None = None,
        contrastive: bool = True,
        negative_activations: Literal["clamp", "raw", "zplus"] = "clamp",
        draw_inactive: bool = False,
        image_size: int = 224,
        lr: float = 1e-3,
        lr_schedule: Literal["constant", "cosine"] = "cosine",
        init_from: str | Path | None = None,
        names: str | Path | None = None,
    ) -> None:
        _check(objective, trunk, pretraining_epochs, classes_at_once)
        check_at_least_0(
            beta=beta,
            eta=eta,
            encoder_decay=encoder_decay,
            decoder_decay=decoder_decay,
            predictor_decay=predictor_decay,
            pretraining_epochs=pretraining_epochs,
            lr=lr,
        )
        check_above_0(q=q)
        check_positive_weight(positive_weight)
        explainer = SRAEExplainer(
            FrozenBackbone.from_options(backbone),
            layer,
            explained_classes=explained_classes,
            num_features=num_features,
            hidden=hidden,
            trunk=trunk,
            decoder=OBJECTIVES[objective].has_decoder,
            pooling=pooling,
            contrastive=contrastive,
            negative_activations=negative_activations,
            draw_inactive=draw_inactive,
            image_size=image_size,
        )
        super().__init__(explainer, explainer.explained_classes, classes_at_once, lr, lr_schedule, init_from, names)
        self.objective, self.objective_name = OBJECTIVES[objective], objective
        self.beta, self.eta, self.q = beta, eta, q
        self.pull_away_over = pull_away_over
        self.decays = {"encoder": encoder_decay, "decoder": decoder_decay, "predictor": predictor_decay}
        self.positive_weight = positive_weight
        self.pretraining_epochs = pretraining_epochs
        self.train_faithfulness = faithfulness_metrics("train")
        self.val_faithfulness = faithfulness_metrics("val")
        self.alive_features = AliveFeatures(len(explainer.explained_classes), num_features)
        self.mean_contributions = torch.full((len(explainer.explained_classes), num_features), torch.nan)

    @property
    def heads(self) -> SeparateHeads | SharedHeads:
        """The heads, in the order of the explained classes."""
        return self.explainer.heads

    @override
    def meaning_of_heads(self) -> dict[str, Any]:
        return super().meaning_of_heads() | {"objective": self.objective_name}

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
        """Encoders, decoders and predictors apart: d(λ‖θ‖²)/dθ = 2λθ is Adam's decay of 2λ."""
        named = [item for network in self._networks for item in network.named_parameters()]
        for part, decay in self.decays.items():
            chosen = [value for name, value in named if name.split(".")[0] == part and value.requires_grad]
            if chosen:
                yield {"params": chosen, "weight_decay": 2 * decay}
        if not self.active_rows:  # an optimizer wants a parameter
            yield {"params": [self.unused]}

    @override
    def setup(self, stage: str) -> None:
        super().setup(stage)
        if stage == "fit" and self.pretraining_epochs:
            if world_size() > 1 and not self.is_grouped:
                self._check_finds_unused()
            self._check_epochs_are_left()
        if stage == "fit":
            trained = {value for row in self.active_rows for value in self.head_parameters(row)}
            for parameter in self.heads.parameters():
                parameter.requires_grad_(parameter in trained)

    def _check_epochs_are_left(self) -> None:
        layers, epochs = len(self.explainer.hidden) + 1, self.trainer.max_epochs or 0
        needed, given = layers * self.pretraining_epochs, self.epochs_of_group or epochs
        if 0 <= given <= needed:
            raise ValueError(
                f"pretraining_epochs {self.pretraining_epochs} for each of {layers} layers takes {needed} epochs, which"
                f" leaves none of trainer.max_epochs {given} to train all together; give more, or less pretraining."
            )

    def _check_finds_unused(self) -> None:
        if not getattr(self.trainer.strategy, "_ddp_kwargs", {}).get("find_unused_parameters"):
            raise ValueError(
                "pretraining_epochs trains some layers before others, which trainer.strategy ddp does not expect; set it to"
                " ddp_find_unused_parameters_true, or set model.init_args.classes_at_once."
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
        loss = terms.total(self.beta, self.eta)
        named = {"loss": loss, "faithfulness": terms.faithfulness, "reconstruction": terms.reconstruction}
        self._log_means(named | {"pull_away": terms.pull_away}, samples)
        return loss

    def _separate_pass(self, samples: Samples, weights: Tensor) -> tuple[Terms, Tensor, Tensor]:
        """Summed terms, (B, J', n) contributions and (B, J') estimates of the heads that are trained now."""
        if not self.active_rows:  # a rank may have no head left in the last group, and takes part in what is logged
            return Terms(*weights.new_zeros(3)), weights.new_zeros(*weights.shape, self.explainer.num_features), weights
        terms, contributions, estimates = [], [], []
        for column, head in enumerate(self._networks):
            output = head(samples.features)
            target = None if output.decoded is None else head.rows_of(samples.features)
            terms.append(self._terms(output, samples.logits[:, column], target, weights[:, column]))
            contributions.append(head.contributions(output.embedding.detach()))
            estimates.append(output.estimate)
        return sum_of(terms), torch.stack(contributions, dim=1), torch.stack(estimates, dim=1)

    def _shared_pass(self, samples: Samples, weights: Tensor) -> tuple[Terms, Tensor, Tensor]:
        """As `_separate_pass`; the one reconstruction weighs as much as those of all heads would."""
        heads = self._networks[0]
        output = heads(samples.features)
        total = terms_of_heads(
            self.objective,
            output.estimates,
            output.local,
            samples.logits,
            weights,
            pull_away_over=self.pull_away_over,
            across_ranks=self.across_ranks,
        )
        if output.decoded is not None:
            error = self.objective.reconstruction_error(
                output.decoded.float(), heads.rows_of(samples.features), self.q, None, across_ranks=self.across_ranks
            )
            total = total._replace(reconstruction=error * len(self.active_rows))
        return total, output.embeddings * heads.predictors(), output.estimates

    def _terms(self, output: HeadOutput, logit: Tensor, target: Tensor | None, weights: Tensor) -> Terms:
        return head_terms(
            self.objective,
            output,
            logit,
            target,
            weights,
            q=self.q,
            pull_away_over=self.pull_away_over,
            across_ranks=self.across_ranks,
        )

    def image_weights(self, samples: Samples) -> Tensor:
        """(B, J') weight of each image in the means of each head; 0 where it is not among that head's samples."""
        own = [self.balance(row) for row in self.active_rows]
        weights = torch.where(samples.positive, samples.features.new_tensor(own), 1.0)
        return weights if samples.sampled is None else weights * samples.sampled

    def balance(self, row: int, *, sampled: bool = True) -> float:
        """Weight of a class's own images in the means of its head; without ``sampled``, where all images are taken."""
        if self.positive_weight != "balanced":
            return float(self.positive_weight)
        if self.data is None:
            return 1.0
        counts = self.data.sample_counts() if sampled else None
        if counts is not None:
            own, others = counts[row].tolist()
        else:
            own = self.data.class_counts[self.explainer.explained_classes[row]]
            others = self.data.train_count - own
        return max(others, 1) / own if own else 1.0

    def training_samples(self) -> Iterable[Batch]:
        """Each training sample once over all ranks."""
        return self.data.every_sample("train") if self.data is not None else self.trainer.train_dataloader or ()

    # Pretraining

    @property
    def _pretrained_layer(self) -> int | None:
        """Which layer of the autoencoders is trained in this epoch; None where all are trained together."""
        if not self.pretraining_epochs:
            return None
        layer = self.epoch_of_group // self.pretraining_epochs
        return layer if layer <= len(self.explainer.hidden) else None

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
        self._log_means({"pretraining": loss}, samples)
        return loss

    # What is measured

    def _log_means(self, sums: dict[str, Tensor], samples: Samples) -> None:
        heads = len(self.active_rows)
        means = {f"train/{name}": value.detach() / max(heads, 1) for name, value in sums.items()}
        # In groups, ranks may have different numbers of heads, and the last one none.
        self.log_dict(means, on_step=False, on_epoch=True, batch_size=len(samples.features) * heads, sync_dist=True)

    def _measure(self, contributions: Tensor, estimates: Tensor, samples: Samples) -> None:
        rows = self.active_rows
        if not self.objective.faithful:  # v is not known yet
            return
        if rows:
            self.train_faithfulness.update(estimates, samples.all_logits, self.explained[rows])
        self.log_dict(dict(self.train_faithfulness.items(keep_base=False)), on_step=False, on_epoch=True)
        self.alive_features.update(contributions, samples.positive, rows)

    def on_train_epoch_start(self) -> None:
        """Counts contributions anew each epoch."""
        super().on_train_epoch_start()
        self.alive_features.reset()

    def on_train_epoch_end(self) -> None:
        """Logs how many x-features are live, and how many heads are degenerate; fits predictors that were left out."""
        if not self.objective.faithful and self._training_ends:  # here, so that the last checkpoint has them
            self.share_heads()
            self.mean_contributions = fit_predictors(self)
        if not self.knows_contributions:
            return
        means = self.alive_features.compute()
        measured = ~means.isnan().any(dim=1)
        self.mean_contributions[measured.cpu()] = means[measured].float().cpu()
        live = alive_counts(means[measured])
        self.log("train/alive_features", live.float().mean(), rank_zero_only=True)
        self.log("train/dead_heads", float(len(dead_heads(means))), rank_zero_only=True)

    @property
    def _training_ends(self) -> bool:
        trainer = self.trainer
        enough_steps = 0 <= trainer.max_steps <= trainer.global_step
        enough_epochs = 0 <= (trainer.max_epochs or 0) <= trainer.current_epoch + 1
        return enough_steps or enough_epochs or trainer.should_stop

    def validation_step(self, batch: Batch) -> None:
        """Faithfulness of the heads that were trained so far; no heatmap is drawn, so kept features are enough.

        Nothing is measured while predictors that are fitted afterwards are not there yet.
        """
        if self.is_fitting and not self.objective.faithful:
            return
        features, logits = self.features_of(batch)
        rows = self.groups.begun(self.group)
        self.val_faithfulness.update(self.heads.estimates(features)[:, rows], logits, self.explained[rows])
        self.log_dict(dict(self.val_faithfulness.items(keep_base=False)), on_step=False, on_epoch=True)

    @property
    def knows_contributions(self) -> bool:
        """Whether this epoch measures contributions of x-features: not in pretraining, nor where v is fitted at last."""
        return self.objective.faithful and self._pretrained_layer is None

    def restart_head(self, row: int, generator: torch.Generator) -> None:
        """Draws a head's weights anew and forgets what the optimizer knew of them.

        Raises:
            ValueError: for heads on a shared trunk.
        """
        if isinstance(self.heads, SharedHeads):
            raise ValueError("Heads on a shared trunk cannot be restarted alone; take model.init_args.trunk: separate.")
        self.heads[row].reset(generator)
        optimizers = self.optimizers()
        for optimizer in optimizers if isinstance(optimizers, list) else [optimizers]:
            for parameter in self.heads[row].parameters():
                optimizer.state.pop(parameter, None)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Adds what is known of the heads of groups that are done."""
        super().on_save_checkpoint(checkpoint)
        checkpoint["mean_contributions"] = self.mean_contributions

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Takes over what is known of heads."""
        super().on_load_checkpoint(checkpoint)
        self.mean_contributions = checkpoint.get("mean_contributions", self.mean_contributions)

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
        """Adds each class's number of live x-features to the exported explainer."""
        counts = alive_counts(self.mean_contributions).tolist()
        classes = [self.explainer.class_name(index) for index in self.explainer.explained_classes]
        return super().metadata() | {"alive_features": dict(zip(classes, counts, strict=True))}


def _check(objective: str, trunk: str, pretraining_epochs: int, classes_at_once: int | None) -> None:
    if pretraining_epochs and not OBJECTIVES[objective].has_decoder:
        raise ValueError(f"pretraining_epochs trains autoencoders, and objective {objective} has none; leave it out.")
    if classes_at_once is not None and classes_at_once < 1:
        raise ValueError(f"classes_at_once is {classes_at_once}; give 1 or more, or null for all.")
    if trunk == "shared" and classes_at_once is not None:
        raise ValueError("classes_at_once splits separate heads; leave it out with trunk: shared.")
