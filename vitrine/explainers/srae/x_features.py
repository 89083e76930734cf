"""Explainers by x-features: heads that squeeze one vector Z into a few x-features a class, and their heatmaps."""

import warnings
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import ClassVar, Literal, NamedTuple, Protocol

import torch
from torch import Tensor, nn
from typing_extensions import override

from vitrine.attribution.autograd.backward import noise_image
from vitrine.attribution.excitation.excitation_backprop import ExcitationBackprop
from vitrine.attribution.excitation.linear_rules import NegativeActivations
from vitrine.attribution.lrp.composites import CompositeName
from vitrine.attribution.lrp.lrp import LRP
from vitrine.backbones.features import FeatureSizes, TappedFeatures
from vitrine.backbones.frozen import FrozenBackbone
from vitrine.backbones.pooling import Pooling
from vitrine.core.explanation import Explanation
from vitrine.core.heatmap_texts import HeatmapTexts
from vitrine.core.options import Count, CountOrZero, OptionError, Options
from vitrine.data.preprocessing import Preprocessing
from vitrine.explainers.base import Explainer, Target, target_classes
from vitrine.explainers.srae.drawing import Drawing
from vitrine.explainers.srae.layer_choices import LayerChoice, LayerChoices, check_depends


@dataclass(frozen=True)
class XFeatureOptions(Options):
    """What is explained by x-features, and how they are drawn.

    Args:
        layer: dotted name of the layer whose output is Z.
        pooling: how its activation becomes a vector. Of a map: ``average`` over space, ``positions`` (a vector Z for each
            position). Of tokens: ``cls`` (the class token), ``mean_tokens`` (the mean of the patch tokens, without class and
            register tokens), ``tokens`` (a vector Z for each patch token). Of either, ``flatten``; ``none`` for a layer that
            gives vectors. See `TappedFeatures`.
        explained_classes: indices of the classes that get a head; all without it. In a training run ``by_name`` stands for
            those that the data set has.
        num_features: n, x-features of a class.
        contrastive: whether heatmaps are c-MWP, as in the paper, or plain MWP.
        negative_activations: how excitation backprop treats negative activations, see `ExcitationBackprop`.
        lrp: a composite of LRP, such as ``epsilon_gamma_box`` or ``attn``, that draws x-features instead of excitation
            backprop; signed maps, which add up to the x-feature but for what biases absorb.
        draw_inactive: whether an x-feature that is 0 on an image, and so contributes nothing, still gets the heatmap of what
            would excite it; a heatmap of zeros otherwise.
        image_size: side of the backbone's input in pixels, used once to find the sizes of Z and of the logits.

    Example:
        >>> XFeatureOptions(layer="layer4", explained_classes=[3, 7]).pooling
        'average'
    """

    RENAMED: ClassVar[Mapping[str, str]] = {"x_features": "num_features", "draw_silent": "draw_inactive"}

    layer: str
    pooling: Pooling = "average"
    explained_classes: Sequence[CountOrZero] | Literal["by_name"] | None = None
    num_features: Count = 5
    contrastive: bool = True
    negative_activations: NegativeActivations = "clamp"
    lrp: CompositeName | None = None
    draw_inactive: bool = False
    image_size: Count = 224

    @property
    def drawing(self) -> Drawing:
        """How x-features are drawn."""
        return Drawing(self.contrastive, self.negative_activations, self.lrp)


class XFeatureHeads(nn.Module, ABC):
    """n x-features for each of J classes, over one Z that they share, and linear predictors v of the classes' logits."""

    @property
    @abstractmethod
    def alive(self) -> Tensor:
        """(J, n) bool: which x-features take part; one that was dropped is 0 and not shown."""

    @property
    def num_features(self) -> int:
        """The n x-features of a class, with those that were dropped."""
        return self.alive.shape[1]

    @abstractmethod
    def embed(self, features: Tensor, rows: Tensor) -> Tensor:
        """(B, n) x-features E of Z (B, D), each image's by the head of its row (B,)."""

    @abstractmethod
    def embed_all(self, features: Tensor) -> Tensor:
        """(N, J, n) x-features E of Z (N, D) by every head."""

    @abstractmethod
    def predictors(self) -> Tensor:
        """(J, n) v of all heads."""

    @abstractmethod
    def estimates(self, features: Tensor) -> Tensor | None:
        """(N, J) estimates ȳ of the classes' logits from Z (N, D); None of heads that estimate nothing."""

    def contributions(self, embedding: Tensor, rows: Tensor) -> Tensor:
        """(B, n) vᵢEᵢ of x-features (B, n) of the heads at (B,) rows."""
        return embedding * self.predictors()[rows] + 0.0  # an x-feature that does not fire contributes 0, not −0


class _Embedded(NamedTuple):
    """What a forward pass gives beside the x-features that are drawn, detached."""

    logits: Tensor
    """(B, C) of the backbone."""
    features: Tensor
    """(B, D) Z."""
    rows: Tensor
    """(B,) position of each image's head among the heads."""
    numbers: Tensor
    """(B, K) indices of the x-features that are drawn."""
    contributions: Tensor
    """(B, n) vᵢEᵢ."""


class XFeatureExplainer(Explainer):
    """X-features of chosen classes, each drawn by (contrastive) excitation backprop or LRP.

    A subclass makes the ``heads``.

    Args:
        backbone: the frozen classifier.
        options: what is explained, and how it is drawn.
        classes: names of the backbone's logits.
        preprocessing: how images are prepared for the backbone.

    Raises:
        ValueError: for an unknown layer, and explained classes that are none of the backbone's.
        OptionError: for a layer without a tensor, a pooling that makes no vectors of it, and an image size that the backbone
            does not take; it names a choice that was tried and works.
    """

    options_type = XFeatureOptions
    texts = HeatmapTexts(
        heatmap="Each heatmap shows where one x-feature, a learned part of the evidence for a class, finds it in the image.",
        score="the x-feature's contribution to the logit of the explained class",
        symbol="vᵢEᵢ",
    )
    renamed_tensors: ClassVar[Mapping[str, str]] = {"live": "alive", "taking_part": "is_alive"}
    options: XFeatureOptions
    heads: XFeatureHeads

    def __init__(
        self,
        backbone: FrozenBackbone,
        options: XFeatureOptions,
        classes: Sequence[str] | None = None,
        preprocessing: Preprocessing | None = None,
    ) -> None:
        super().__init__(backbone, options, classes, preprocessing)
        self.features = TappedFeatures(backbone, options.layer, options.pooling)
        sizes = self._sizes()
        self.width, self.positions, self.num_classes = sizes.width // sizes.positions, sizes.positions, sizes.classes
        if options.explained_classes == "by_name":  # there are no heads before `explain_classes` says of what
            self.explained_classes: Sequence[int] = []
            return
        self.explained_classes = _checked(options.explained_classes, self.num_classes)
        self.options = replace(options, explained_classes=self.explained_classes)

    def _sizes(self) -> FeatureSizes:
        try:
            return self.features.sizes(self.options.image_size)
        except OptionError:
            raise
        except ValueError as error:  # of the layer
            raise self._layer_refused(error, self._choices.nearest(self.options.layer)) from error

    @property
    def _choices(self) -> LayerChoices:
        options = self.options
        return LayerChoices(
            self.backbone,
            options.pooling,
            options.image_size,
            options.drawing,
        )

    def _layer_refused(self, error: ValueError, choice: LayerChoice | None) -> OptionError:
        works = (
            "a layer of another network, as none of this one works"
            if choice is None
            else choice.told(self.options.pooling)
        )
        return OptionError("layer", self.options.layer, f"{works}: {str(error).rstrip('.')}")

    def check_drawable(self) -> None:
        """Makes sure, by an image of noise, that Z depends on it and x-features can be drawn, which a fit does not show.

        Raises:
            OptionError: where it is not so, with a layer that works.
            ValueError: where the heads are to blame and not the layer.

        Warns where the logits do not depend on Z.
        """
        if not self.explained_classes:
            return
        image = noise_image(self.backbone.model, self.options.image_size)
        try:
            check_depends(self.features, image)
            self.explain(image)
        except ValueError as error:
            if self._choices.tried(self.options.layer) == (self.options.layer, self.options.pooling):
                raise  # the heads are to blame
            raise self._layer_refused(error, self._choices.nearest(self.options.layer)) from error
        if not self.features.is_read(image):
            warnings.warn(
                f"The logits do not depend on what pooling {self.options.pooling!r} takes of layer {self.options.layer!r},"
                " such as patch tokens after the class token last looked at them; take an earlier layer, or pooling 'cls'.",
                stacklevel=2,
            )

    @abstractmethod
    def make_heads(self) -> XFeatureHeads:
        """Heads for the explained classes, their weights drawn anew."""

    def explain_classes(self, classes: Sequence[int]) -> None:
        """Takes these classes in place of the explained ones, with heads drawn anew.

        Raises:
            ValueError: where they are none of the backbone's.
        """
        self.explained_classes = _checked(classes, self.num_classes)
        self.options = replace(self.options, explained_classes=self.explained_classes)
        self.heads = self.make_heads()

    @override
    def redraw_heads(self) -> None:
        self.heads = self.make_heads()

    @property
    def num_features(self) -> int:
        """n, x-features a class."""
        return self.heads.num_features

    @property
    def feature_width(self) -> int:
        """Numbers that `cacheable_features` gives of an image."""
        return self.width * self.positions

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
        alive = self.heads.alive[self.explained_classes.index(class_index)]
        return [int(number) for number in alive.nonzero().flatten()]

    @override
    def load_head_state(self, state: dict[str, Tensor]) -> None:
        # Explainers from before x-features could be dropped do not say which are alive: all are.
        alive = {name: value for name, value in self.head_state().items() if name.endswith((".alive", ".is_alive"))}
        super().load_head_state(alive | self.with_current_names(state))

    def reconstruct_logits(self, features: Tensor) -> Tensor | None:
        """(N, J) estimates ȳ of the explained classes' logits from Z (N, D); None where heads estimate nothing."""
        return self.heads.estimates(features)

    @override
    def explain_batch(self, images: Tensor, target: Target) -> Explanation:
        """Heatmaps of the x-features of the target's head, with vᵢEᵢ as scores; see `Explainer.explain`.

        Where the predicted class has no head, the explained class with the highest logit is taken. X-features that were
        dropped are left out; a head with fewer than others has heatmaps of zeros with an empty label behind its own.
        """
        if not self.explained_classes:
            raise ValueError(
                "explained_classes: by_name has no heads before a data set is given; fit them, or give indices."
            )
        count = max(int(self.heads.alive.sum(dim=1).max()), 1)
        self.features.prepare(images)
        heatmaps, activations, embedded = self.options.drawing.maps(
            partial(self._embed, target=target, count=count),
            images,
            torch.arange(count, device=images.device).expand(len(images), -1),
        )
        explained = torch.tensor(self.explained_classes, device=images.device)
        rows, numbers = embedded.rows, embedded.numbers
        alive = self.heads.alive[rows].gather(1, numbers)
        drawn = alive if self.options.draw_inactive else alive & (activations != 0)
        with torch.no_grad():
            return Explanation(
                heatmaps=heatmaps * drawn[..., None, None],
                scores=embedded.contributions.gather(1, numbers),
                labels=[
                    [self._label(row, number, is_alive) for number, is_alive in zip(numbers_of, alive_of, strict=True)]
                    for row, numbers_of, alive_of in zip(rows.tolist(), numbers.tolist(), alive.tolist(), strict=True)
                ],
                prediction=embedded.logits.argmax(dim=1),
                target=explained[rows],
                logits=embedded.logits,
                valid=alive,
                logit_estimate=self.reconstruct_logits(embedded.features),
                explained_classes=explained,
            )

    def _embed(self, images: Tensor, target: Target, count: int) -> tuple[Tensor, _Embedded]:
        """(B, count) x-features of the targets' heads, those that were dropped last."""
        output = self.features(images)
        logits, features = output["logits"].detach(), output["features"]
        rows = self._rows(logits, target)
        numbers = self.heads.alive[rows].int().argsort(dim=1, descending=True, stable=True)[:, :count]
        embedding = self.heads.embed(features, rows)
        contributions = self.heads.contributions(embedding.detach(), rows)
        drawn = embedding[torch.arange(len(rows), device=rows.device)[:, None], numbers]
        return drawn, _Embedded(logits, features.detach(), rows, numbers, contributions)

    def _label(self, row: int, number: int, alive: bool) -> str:
        return self.heatmap_name(self.explained_classes[row], number, f"x-feature {number + 1}") if alive else ""

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


class OnBackbone(Protocol):
    """An explainer, as far as what explains its backbone without it needs it."""

    @property
    def backbone(self) -> FrozenBackbone:
        """The frozen classifier."""

    @property
    def options(self) -> Options:
        """The explainer's options."""


def logit_maps(
    explainer: OnBackbone, images: Tensor, target: Target = None, *, internal_batch_size: int = 16
) -> Tensor:
    """The backbone's own excitation backprop (or LRP) of ŷ, of the same kind as the explainer's heatmaps where it has one.

    Args:
        explainer: its backbone is looked into; it is the same afterwards.
        images: (B, 3, H, W) as the backbone takes them.
        target: the explained classes, as in `Explainer.explain`.
        internal_batch_size: images that are explained at once; a bound on memory that changes no result.

    Returns:
        (B, 1, H, W): c-MWP, or MWP or relevance where the explainer's heatmaps are; neither clamped nor rescaled.

    Raises:
        ValueError: where the backbone has an operator that has no rule.
    """
    options = explainer.options
    drawing = options.drawing if isinstance(options, XFeatureOptions) else Drawing()
    model = explainer.backbone.model
    if drawing.lrp is not None:
        relevance = LRP(model, composite=drawing.lrp, internal_batch_size=internal_batch_size)
        return relevance.attribute(images, target).sum(dim=1, keepdim=True)
    method = ExcitationBackprop(
        model,
        contrastive=drawing.contrastive,
        negative_activations=drawing.negative_activations,
        internal_batch_size=internal_batch_size,
    )
    return method.attribute(images, target)
