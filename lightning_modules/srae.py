"""Fits one-vs-all SRAE heads (Qi, Khorram and Li 2018)."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Literal

import torch
from pytorch_lightning.utilities import rank_zero_warn
from torch import Tensor

from lightning_modules.base import ExplainerModule, faithfulness_metrics
from vitrine.backbones import BackboneOptions, FrozenBackbone
from vitrine.batch import Batch
from vitrine.explainers.srae import SRAEExplainer, SRAEHead
from vitrine.losses import faithfulness, pull_away, sparse_reconstruction
from vitrine.metrics.live_x_features import LiveXFeatures, degenerate_heads, live_counts


class SRAEModule(ExplainerModule):
    """Trains the heads of all chosen classes side by side, from one pass over the data an epoch.

    The loss of each head is equation 5: faithfulness + β · sparse reconstruction + η · pull-away, and λ₁, λ₂, λ₃ times the
    squared norms of encoder, decoder and predictor, which Adam adds to the gradient. Heads share no parameter, so their
    sum trains each as if it were alone.

    Args:
        backbone: the classifier to be explained.
        layer: dotted name of the layer whose output is Z.
        pooling: how its activation becomes a vector: average, flatten or none.
        explained_classes: indices of the classes that get a head; all without it.
        x_features: n, x-features a class.
        hidden: widths of the encoder between Z and the x-features.
        beta: β, weight of the sparse reconstruction.
        eta: η, weight of the pull-away term.
        q: sparsity of the reconstruction.
        pull_away_over: compare x-features over ``images`` (the paper) or images over ``features``.
        encoder_decay: λ₁.
        decoder_decay: λ₂.
        predictor_decay: λ₃.
        positive_weight: weight of a class's own images in the means of its head, ``balanced`` for as much as all others
            together.
        contrastive: whether heatmaps are c-MWP, as in the paper, or MWP.
        negative_activations: how excitation backprop treats negative activations.
        image_size: side of the backbone's input in pixels.
        lr: see `ExplainerModule`.
        lr_schedule: see `ExplainerModule`.
        init_from: see `ExplainerModule`.
    """

    explainer: SRAEExplainer

    def __init__(
        self,
        backbone: BackboneOptions,
        layer: str,
        pooling: Literal["average", "flatten", "none"] = "average",
        explained_classes: Sequence[int] | None = None,
        x_features: int = 5,
        hidden: Sequence[int] = (800, 100),
        beta: float = 5.0,
        eta: float = 0.5,
        q: float = 1.0,
        pull_away_over: Literal["images", "features"] = "images",
        encoder_decay: float = 1e-5,
        decoder_decay: float = 1e-5,
        predictor_decay: float = 1e-5,
        positive_weight: float | Literal["balanced"] = "balanced",
        contrastive: bool = True,
        negative_activations: Literal["clamp", "raw", "zplus"] = "clamp",
        image_size: int = 224,
        lr: float = 1e-3,
        lr_schedule: Literal["constant", "cosine"] = "cosine",
        init_from: str | Path | None = None,
    ) -> None:
        explainer = SRAEExplainer(
            FrozenBackbone.from_options(backbone),
            layer,
            explained_classes=explained_classes,
            x_features=x_features,
            hidden=hidden,
            pooling=pooling,
            contrastive=contrastive,
            negative_activations=negative_activations,
            image_size=image_size,
        )
        super().__init__(explainer, lr, lr_schedule, init_from)
        self.beta, self.eta, self.q = beta, eta, q
        self.pull_away_over = pull_away_over
        self.decays = {"encoder": encoder_decay, "decoder": decoder_decay, "predictor": predictor_decay}
        self.positive_weight = positive_weight
        self.train_faithfulness = faithfulness_metrics("train")
        self.val_faithfulness = faithfulness_metrics("val")
        self.live_x_features = LiveXFeatures(len(explainer.explained_classes), x_features)
        self.mean_contributions = torch.full((len(explainer.explained_classes), x_features), torch.nan)
        self.register_buffer("explained", torch.tensor(explainer.explained_classes), persistent=False)
        self.explained: Tensor

    @property
    def heads(self) -> list[SRAEHead]:
        """The heads, in the order of the explained classes."""
        return [head for head in self.explainer.heads if isinstance(head, SRAEHead)]

    def parameter_groups(self) -> Iterable[dict[str, Any]]:
        """Encoders, decoders and predictors apart: d(λ‖θ‖²)/dθ = 2λθ is Adam's decay of 2λ."""
        return [
            {
                "params": [p for head in self.heads for p in head.get_submodule(part).parameters()],
                "weight_decay": 2 * decay,
            }
            for part, decay in self.decays.items()
        ]

    def training_step(self, batch: Batch) -> Tensor:
        """Equation 5, summed over heads."""
        features, logits = self.features_of(batch)
        positive = self.positives(batch["label"])
        embeddings, estimates, terms = [], [], []
        for row, head in enumerate(self.heads):
            # Sums over the batch keep float32 where the products run in fewer bits.
            embedding, decoded, estimate = (tensor.float() for tensor in head(features))
            weights = self.image_weights(positive[:, row], row)
            terms.append(
                self.loss_terms(features, logits[:, self.explained[row]], embedding, decoded, estimate, weights)
            )
            embeddings.append(embedding)
            estimates.append(estimate)
        self._measure(embeddings, torch.stack(estimates, dim=1), logits, positive)
        faithful, reconstruction, orthogonal = torch.stack(terms).sum(dim=0).unbind()
        loss: Tensor = faithful + self.beta * reconstruction + self.eta * orthogonal
        named = {"loss": loss, "faithfulness": faithful, "reconstruction": reconstruction, "pull_away": orthogonal}
        means = {f"train/{name}": value.detach() / len(self.heads) for name, value in named.items()}
        self.log_dict(means, on_step=False, on_epoch=True, batch_size=len(features), sync_dist=True)
        return loss

    def loss_terms(
        self, features: Tensor, logit: Tensor, embedding: Tensor, decoded: Tensor, estimate: Tensor, weights: Tensor
    ) -> Tensor:
        """(3,): faithfulness, sparse reconstruction and pull-away of one head, over the global batch."""
        return torch.stack(
            [
                faithfulness(estimate, logit, weights=weights, across_ranks=True),
                sparse_reconstruction(decoded, features, self.q, weights=weights, across_ranks=True),
                pull_away(embedding, over=self.pull_away_over, across_ranks=True),
            ]
        )

    def positives(self, label: Tensor) -> Tensor:
        """(B, J) bool: whether an image is of each explained class, from indices (B,) or multi-hot (B, C)."""
        if label.ndim == 2:
            return label[:, self.explained] != 0
        return label[:, None] == self.explained

    def image_weights(self, positive: Tensor, row: int) -> Tensor:
        """(B,) weight of each image in the means of one head."""
        weight = self._balance(row) if self.positive_weight == "balanced" else float(self.positive_weight)
        return torch.where(positive, weight, 1.0)

    def _balance(self, row: int) -> float:
        counts = self.data.class_counts if self.data is not None else []
        own = counts[self.explainer.explained_classes[row]] if counts else 0
        return max(self.data.train_count - own, 1) / own if own else 1.0

    def _measure(self, embeddings: list[Tensor], estimates: Tensor, logits: Tensor, positive: Tensor) -> None:
        self.train_faithfulness.update(estimates, logits, self.explained)
        self.log_dict(dict(self.train_faithfulness.items(keep_base=False)), on_step=False, on_epoch=True)
        with torch.no_grad():
            contributions = torch.stack(
                [head.contributions(embedding) for head, embedding in zip(self.heads, embeddings, strict=True)], dim=1
            )
        self.live_x_features.update(contributions, positive)

    def on_train_epoch_start(self) -> None:
        """Counts contributions anew each epoch."""
        self.live_x_features.reset()

    def on_train_epoch_end(self) -> None:
        """Logs how many x-features are live, and how many heads are degenerate."""
        self.mean_contributions = self.live_x_features.compute()
        live = live_counts(self.mean_contributions)
        self.log("train/live_x_features", live.float().mean(), rank_zero_only=True)
        self.log("train/degenerate_heads", float(len(degenerate_heads(self.mean_contributions))), rank_zero_only=True)

    def validation_step(self, batch: Batch) -> None:
        """Faithfulness; no heatmap is drawn, so kept features are enough."""
        features, logits = self.features_of(batch)
        self.val_faithfulness.update(self.explainer.reconstruct_logits(features), logits, self.explained)
        self.log_dict(dict(self.val_faithfulness.items(keep_base=False)), on_step=False, on_epoch=True)

    def restart_head(self, row: int, generator: torch.Generator) -> None:
        """Draws a head's weights anew and forgets what the optimizer knew of them."""
        self.heads[row].reset(generator)
        optimizers = self.optimizers()
        for optimizer in optimizers if isinstance(optimizers, list) else [optimizers]:
            for parameter in self.heads[row].parameters():
                optimizer.state.pop(parameter, None)

    def on_fit_end(self) -> None:
        """Warns of heads that stayed degenerate."""
        rows = degenerate_heads(self.mean_contributions)
        names = ", ".join(self.explainer.class_name(self.explainer.explained_classes[row]) for row in rows)
        if rows:
            rank_zero_warn(
                f"{len(rows)} heads have fewer than 2 x-features with a positive mean contribution: {names}."
            )

    def facts(self) -> dict[str, Any]:
        """Adds each class's number of live x-features to the exported explainer."""
        counts = live_counts(self.mean_contributions).tolist()
        classes = [self.explainer.class_name(index) for index in self.explainer.explained_classes]
        return super().facts() | {"live_x_features": dict(zip(classes, counts, strict=True))}
