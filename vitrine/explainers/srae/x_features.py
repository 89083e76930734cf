"""Explainers by x-features: heads that squeeze one vector Z into a few x-features a class, drawn by excitation backprop."""

from abc import ABC, abstractmethod
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from typing_extensions import override

from vitrine.attribution.excitation.excitation_backprop import ExcitationBackprop, excitation_maps
from vitrine.backbones.features import TappedFeatures
from vitrine.backbones.frozen import FrozenBackbone
from vitrine.core.explanation import Explanation
from vitrine.data.preprocessing import Preprocessing
from vitrine.explainers.base import Explainer, Target, target_classes


def check_sizes(num_features: int, hidden: Sequence[int] = ()) -> None:
    """Raises ValueError for heads without an x-feature, or with a layer without units."""
    if num_features < 1:
        raise ValueError(f"num_features is {num_features}; give 1 or more.")
    if any(width < 1 for width in hidden):
        raise ValueError(f"hidden is {list(hidden)}; give widths of 1 or more.")


class XFeatureHeads(nn.Module, ABC):
    """n x-features for each of J classes, over one Z that they share, and linear predictors v of the classes' logits."""

    @property
    @abstractmethod
    def live(self) -> Tensor:
        """(J, n) bool: which x-features take part; one that was dropped is 0 and not shown."""

    @property
    def num_features(self) -> int:
        """The n x-features of a class, with those that were dropped."""
        return self.live.shape[1]

    @abstractmethod
    def embed(self, features: Tensor, rows: Tensor) -> Tensor:
        """(B, n) x-features E of Z (B, D), each image's by the head of its row (B,)."""

    @abstractmethod
    def predictors(self) -> Tensor:
        """(J, n) v of all heads."""

    @abstractmethod
    def estimates(self, features: Tensor) -> Tensor | None:
        """(N, J) estimates ȳ of the classes' logits from Z (N, D); None of heads that estimate nothing."""

    def contributions(self, embedding: Tensor, rows: Tensor) -> Tensor:
        """(B, n) vᵢEᵢ of x-features (B, n) of the heads at (B,) rows."""
        return embedding * self.predictors()[rows] + 0.0  # an x-feature that does not fire contributes 0, not −0


class XFeatureExplainer(Explainer):
    """X-features of chosen classes, each drawn by (contrastive) excitation backprop.

    A subclass makes the ``heads``.

    Args:
        backbone: the classifier behind glass.
        layer: the layer whose output is Z.
        classes: names of the backbone's logits.
        preprocessing: how images are made ready for the backbone.
        explained_classes: indices of the classes that get a head; all without it.
        pooling: how an activation becomes a vector, see `TappedFeatures`.
        contrastive: whether heatmaps are c-MWP, as in the paper, or plain MWP.
        negative_activations: how excitation backprop treats negative activations: clamp, raw or zplus.
        draw_inactive: whether an x-feature that is 0 on an image, and so contributes nothing, still gets the heatmap of what
            would excite it; a heatmap of zeros otherwise.
        image_size: side of the backbone's input, used once to find the sizes of Z and of the logits.
    """

    heads: XFeatureHeads

    def __init__(
        self,
        backbone: FrozenBackbone,
        layer: str,
        classes: Sequence[str] | None = None,
        preprocessing: Preprocessing | None = None,
        explained_classes: Sequence[int] | None = None,
        pooling: str = "average",
        contrastive: bool = True,
        negative_activations: str = "clamp",
        draw_inactive: bool = False,
        image_size: int = 224,
    ) -> None:
        super().__init__(backbone, classes, preprocessing)
        self.features = TappedFeatures(backbone, layer, pooling)
        sizes = self.features.sizes(image_size)
        self.width, self.positions, self.num_classes = sizes.width // sizes.positions, sizes.positions, sizes.classes
        self.explained_classes = _checked(explained_classes, self.num_classes)
        self.contrastive = contrastive
        self.negative_activations = negative_activations
        self.draw_inactive = draw_inactive
        self.image_size = image_size

    @override
    def options(self) -> dict[str, object]:
        return {
            "layer": self.features.layer,
            "explained_classes": self.explained_classes,
            "pooling": self.features.pooling,
            "contrastive": self.contrastive,
            "negative_activations": self.negative_activations,
            "draw_inactive": self.draw_inactive,
            "image_size": self.image_size,
        }

    @property
    def num_features(self) -> int:
        """n, x-features a class."""
        return self.heads.num_features

    @property
    @override
    def cacheable_features(self) -> TappedFeatures:
        """Z, which one pass over the data gives once for all."""
        return self.features

    @override
    def heatmap_counts(self) -> dict[str, int]:
        return {self.class_name(index): self.num_features for index in self.explained_classes}

    @override
    def heatmap_numbers(self, class_index: int) -> list[int]:
        live = self.heads.live[self.explained_classes.index(class_index)]
        return [int(number) for number in live.nonzero().flatten()]

    @override
    def load_head_state(self, state: dict[str, Tensor]) -> None:
        # Explainers from before x-features could be dropped do not say which are live: all are.
        live = {name: value for name, value in self.head_state().items() if name.endswith(".live")}
        super().load_head_state(live | state)

    def reconstruct_logits(self, features: Tensor) -> Tensor | None:
        """(N, J) estimates ȳ of the explained classes' logits from Z (N, D); None where heads estimate nothing."""
        return self.heads.estimates(features)

    @override
    def explain_batch(self, images: Tensor, target: Target) -> Explanation:
        """Heatmaps of the x-features of the target's head, with vᵢEᵢ as scores; see `Explainer.explain`.

        Where the predicted class has no head, the explained class with the highest logit is taken. X-features that were
        dropped are left out; a head with fewer than others has heatmaps of zeros with an empty label behind its own.
        """
        seen: dict[str, Tensor] = {}
        count = max(int(self.heads.live.sum(dim=1).max()), 1)

        def embed(inputs: Tensor) -> Tensor:
            output = self.features(inputs)
            rows = self._rows(output["logits"].detach(), target)
            units = self.heads.live[rows].int().argsort(dim=1, descending=True, stable=True)[:, :count]
            embedding = self.heads.embed(output["features"], rows)
            seen.update(logits=output["logits"].detach(), features=output["features"].detach(), rows=rows, units=units)
            seen["contributions"] = self.heads.contributions(embedding.detach(), rows)
            return embedding[torch.arange(len(rows), device=rows.device)[:, None], units]

        columns = torch.arange(count, device=images.device).expand(len(images), -1)
        heatmaps, shown = excitation_maps(
            embed, images, columns, contrastive=self.contrastive, negative_activations=self.negative_activations
        )
        explained = torch.tensor(self.explained_classes, device=images.device)
        rows, units = seen["rows"], seen["units"]
        live = self.heads.live[rows].gather(1, units)
        drawn = live if self.draw_inactive else live & (shown != 0)
        with torch.no_grad():
            return Explanation(
                heatmaps=heatmaps * drawn[..., None, None],
                scores=seen["contributions"].gather(1, units),
                labels=[
                    [self._label(row, unit, named) for unit, named in zip(units_of, lives, strict=True)]
                    for row, units_of, lives in zip(rows.tolist(), units.tolist(), live.tolist(), strict=True)
                ],
                prediction=seen["logits"].argmax(dim=1),
                target=explained[rows],
                logits=seen["logits"],
                reconstruction=self.reconstruct_logits(seen["features"]),
                explained_classes=explained,
            )

    def _label(self, row: int, unit: int, live: bool) -> str:
        return self.heatmap_name(self.explained_classes[row], unit, f"x-feature {unit + 1}") if live else ""

    def _rows(self, logits: Tensor, target: Target) -> Tensor:
        """(B,) position of each image's head among the heads."""
        explained = torch.tensor(self.explained_classes, device=logits.device)
        best = explained[logits[:, explained].argmax(dim=1)]
        classes = target_classes(target, best, self.num_classes)
        matches = classes[:, None] == explained
        if not bool(matches.any(dim=1).all()):
            missing = int(classes[~matches.any(dim=1)][0])
            names = ", ".join(self.class_name(i) for i in self.explained_classes)
            raise ValueError(f"There is no head for {self.class_name(missing)!r} (class {missing}); heads: {names}.")
        return matches.int().argmax(dim=1)


def _checked(explained_classes: Sequence[int] | None, num_classes: int) -> list[int]:
    chosen = list(range(num_classes)) if explained_classes is None else list(explained_classes)
    wrong = [index for index in chosen if not 0 <= index < num_classes]
    if wrong or not chosen or len(set(chosen)) < len(chosen):
        raise ValueError(
            f"explained_classes {chosen} must be different class indices from 0 to {num_classes - 1}, at least one."
        )
    return chosen


LOGIT_MAP = "EBP of the logit"
"""Its label."""


def logit_maps(explainer: Explainer, images: Tensor, target: Target = None, *, internal_batch_size: int = 16) -> Tensor:
    """The backbone's own excitation backprop of ŷ, of the same kind as the explainer's heatmaps where it has one.

    Args:
        explainer: its backbone is looked into; it is the same afterwards.
        images: (B, 3, H, W) as the backbone takes them.
        target: the explained classes, as in `Explainer.explain`.
        internal_batch_size: images that are explained at once; a bound on memory that changes no result.

    Returns:
        (B, 1, H, W): c-MWP, or MWP where the explainer's heatmaps are; neither clamped nor rescaled.

    Raises:
        ValueError: where the backbone has an operator that excitation backprop has no rule for.
    """
    method = ExcitationBackprop(
        explainer.backbone.model,
        contrastive=getattr(explainer, "contrastive", True),
        negative_activations=getattr(explainer, "negative_activations", "clamp"),
        internal_batch_size=internal_batch_size,
    )
    return method.attribute(images, target)
