"""Attribution methods as explainers: one map an image, which no training needs."""

import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from torch import Tensor
from typing_extensions import override

from vitrine.attribution.autograd.backward import noise_image
from vitrine.attribution.base import Method
from vitrine.attribution.registry import all_methods, method_named
from vitrine.backbones.frozen import FrozenBackbone
from vitrine.backbones.image_sizes import USUAL, blank_image, check_size, working_size
from vitrine.core.explanation import Explanation
from vitrine.core.heatmap_texts import HeatmapTexts
from vitrine.core.image_ops import degenerate, gaussian_blur
from vitrine.core.near_names import near_names
from vitrine.core.options import Count, NonNegative, OptionError, Options
from vitrine.core.probabilities import class_probabilities
from vitrine.data.preprocessing import Preprocessing
from vitrine.explainers.base import Explainer, Target, target_classes

Reduction = Literal["method", "sum", "positive_sum", "max_abs"]
"""How a map with a channel for each colour becomes one of a single channel."""
SMALLEST_SCORE = 1e-12
"""Of a class that the network all but rules out: its map counts nevertheless."""


@dataclass(frozen=True)
class AttributionOptions(Options):
    """Which attribution method explains, and how its maps are read.

    Args:
        method: name of a method of `vitrine.attribution`, such as ``GradCAM``.
        arguments: further arguments of its constructor, such as ``{layer: features, relu: false}``.
        reduction: how a map with a channel for each colour becomes one: ``sum``; ``positive_sum``, its positive part;
            ``max_abs``, the largest absolute value (Simonyan et al. 2014); or as it suits the ``method``: ``max_abs`` where
            maps are gradients, ``sum`` where they add up to the explained logit.
        sigma: of the Gaussian, in pixels, that maps are blurred by; 0 for none.
        image_size: side of the backbone's input in pixels, used once to count its logits; found by trying without it.

    Raises:
        OptionError: for a method that does not exist or explains no classes, and arguments that it does not take.

    Example:
        >>> AttributionOptions("LRP", {"composite": "epsilon"}).reduction
        'method'
    """

    method: str = "GradCAM"
    arguments: Mapping[str, Any] = field(default_factory=dict)
    reduction: Reduction = "method"
    sigma: NonNegative = 0.0
    image_size: Count | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        methods = [name for name, kind in all_methods().items() if kind.explains_classes]
        if self.method not in methods:
            near = near_names(self.method, methods)
            raise OptionError("method", self.method, f"a method that explains classes, such as {', '.join(near)}")
        parameters = inspect.signature(method_named(self.method)).parameters
        takes_others = any(one.kind is one.VAR_KEYWORD for one in parameters.values())  # which its constructor checks
        known = [name for name in parameters if name != "model"]
        for name in self.arguments:
            if name not in known and not takes_others:
                raise OptionError(
                    f"arguments.{name}", self.arguments[name], f"arguments of {self.method}: {', '.join(known)}"
                )


class AttributionExplainer(Explainer):
    """One map an image by an attribution method, in the form of a trained explainer.

    The map's score is the probability of the explained class.

    Args:
        backbone: the frozen classifier.
        options: which method, and how its maps are read.
        classes: names of the backbone's logits.
        preprocessing: how images are prepared for the backbone.

    Raises:
        OptionError: for arguments that the method refuses, and an image size that the backbone does not take.

    Example:
        >>> from torch import nn
        >>> model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 2))
        >>> explainer = AttributionExplainer(FrozenBackbone(model), AttributionOptions("Saliency", image_size=16))
        >>> explainer.explain(torch.rand(4, 3, 16, 16), target=1).heatmaps.shape
        torch.Size([4, 1, 16, 16])
    """

    options_type = AttributionOptions
    options: AttributionOptions

    def __init__(
        self,
        backbone: FrozenBackbone,
        options: AttributionOptions | None = None,
        classes: Sequence[str] | None = None,
        preprocessing: Preprocessing | None = None,
    ) -> None:
        super().__init__(backbone, options, classes, preprocessing)
        self.method = self._made()
        self.side = self.options.image_size or working_size(backbone) or USUAL[0]
        check_size(backbone, self.side)
        with torch.no_grad():
            self.num_classes: int = backbone(blank_image(backbone.model, self.side)).logits.shape[1]

    def _made(self) -> Method:
        name, arguments = self.options.method, self.options.arguments
        try:
            return method_named(name)(self.backbone.model, **arguments)
        except OptionError as error:
            raise OptionError(f"arguments.{error.name}", error.value, error.wanted) from error

    def check_size(self, side: int) -> None:
        """Makes sure that the backbone takes images of side × side pixels.

        Raises:
            OptionError: of ``image_size`` where it does not.
        """
        check_size(self.backbone, side)

    def check_drawable(self) -> None:
        """Makes sure, by an image of noise, that the method works on the backbone; slow ones with few steps.

        Raises:
            ValueError: where it does not, with what to take instead.
        """
        side = self.side if self.preprocessing is None else self.preprocessing.size
        quick = type(self.method).quick_options if self.method.slow else {}
        method = type(self.method)(self.backbone.model, **{**self.options.arguments, **quick})
        method.attribute(noise_image(self.backbone.model, side))

    def explain_batch(self, images: Tensor, target: Target) -> Explanation:
        """One heatmap an image, with the class's probability as its score; see `Explainer.explain`."""
        return self.explanation_of_logits(images, self.logits(images), target)

    @torch.no_grad()
    def logits(self, images: Tensor) -> Tensor:
        """(B, C) logits of the backbone, detached."""
        logits: Tensor = self.backbone(images).logits.float()
        return logits

    def method_maps(self, images: Tensor, logits: Tensor, target: Target = None) -> Tensor:
        """(B, C, H, W) or (B, 1, H, W) maps of the method, before they are reduced to one channel and blurred.

        Args:
            images: (B, 3, H, W) as the backbone takes them.
            logits: (B, C) of these images.
            target: as in `explain`.
        """
        classes = target_classes(target, logits.argmax(dim=1), logits.shape[1])
        return self.prepared_method().attribute(images, classes).detach().float()

    def prepared_method(self) -> Method:
        """The method, which reads probabilities as the explainer does."""
        if hasattr(self.method, "multi_label") and "multi_label" not in self.options.arguments:
            self.method.multi_label = self.multi_label
        return self.method

    def explanation_of_logits(
        self, images: Tensor, logits: Tensor, target: Target = None, maps: Tensor | None = None
    ) -> Explanation:
        """What `explain` gives, of images whose logits are known, which saves their forward pass.

        Args:
            images: (B, 3, H, W) as the backbone takes them.
            logits: (B, C) of these images.
            target: as in `explain`.
            maps: what `method_maps` gives for them, where it is known.
        """
        prediction = logits.argmax(dim=1)
        classes = target_classes(target, prediction, logits.shape[1])
        maps = self._read(self.method_maps(images, logits, target) if maps is None else maps)
        chances = class_probabilities(logits, multi_label=self.multi_label).gather(1, classes[:, None])
        return Explanation(
            heatmaps=maps,
            scores=chances.clamp(min=SMALLEST_SCORE),
            labels=[[f"{self.options.method} of {self.class_name(index)}"] for index in classes.tolist()],
            prediction=prediction,
            target=classes,
            logits=logits,
            multi_label=self.multi_label,
        )

    @override
    def heatmap_texts(self) -> HeatmapTexts:
        """Texts of the method; maps of both signs are drawn as such where their channels are summed."""
        signed = self.method.signed and self._reduction() == "sum"
        method = self.options.method
        return HeatmapTexts(
            heatmap=f"The heatmap shows which places matter for the explained class, as {method} finds them.",
            score="the probability of the explained class",
            signed=signed,
            percent=True,
        )

    def _reduction(self) -> Reduction:
        if self.options.reduction != "method":
            return self.options.reduction
        return "max_abs" if self.method.gradient_like and not self.method.additive else "sum"

    def _read(self, maps: Tensor) -> Tensor:
        """(B, 1, H, W) of the (B, C, H, W) or (B, 1, H, W) maps of the method."""
        reduction = self._reduction()
        if reduction == "max_abs":
            read = maps.abs().amax(dim=1, keepdim=True)
        else:
            read = maps.sum(dim=1, keepdim=True)
            read = read.clamp(min=0) if reduction == "positive_sum" else read
        return self._blurred(read) if self.options.sigma > 0 else read

    def _blurred(self, maps: Tensor) -> Tensor:
        """Rounding gives a blurred constant map a maximum, so degenerate ones stay as they are."""
        flat = degenerate(maps[:, 0])[:, None, None, None]
        return torch.where(flat, maps, gaussian_blur(maps, self.options.sigma))
