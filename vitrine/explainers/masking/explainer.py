"""Masking networks: the mask of a class by one pass (Dabkowski and Gal, NIPS 2017)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from typing_extensions import override

from vitrine.attribution.autograd.gradient_flow import check_gradient
from vitrine.attribution.inversion.layers import stage_layers
from vitrine.attribution.layouts import layout_of_layer
from vitrine.attribution.target_layer import target_layer
from vitrine.backbones.checkpointing import without_checkpointing
from vitrine.backbones.frozen import FrozenBackbone
from vitrine.backbones.guard import eval_guard
from vitrine.backbones.image_sizes import blank_image, check_size
from vitrine.backbones.map_layouts import MapLayout
from vitrine.backbones.taps import resolve_layer
from vitrine.core.explanation import Explanation
from vitrine.core.heatmap_texts import HeatmapTexts
from vitrine.core.options import Count, OptionError, Options
from vitrine.core.precision import in_full
from vitrine.core.probabilities import class_log_probabilities, class_probabilities
from vitrine.data.preprocessing import Preprocessing
from vitrine.explainers.base import Explainer, Target, target_classes
from vitrine.explainers.masking.decoder import MaskDecoder


@dataclass(frozen=True)
class MaskingOptions(Options):
    """The size of a masking network, and the features that it reads.

    Args:
        mask_layers: whose maps the decoder reads, from fine to coarse; the last layer of every resolution without them, see
            `stage_layers`.
        width: channels of the decoder after the coarsest map; half as many at each finer one.
        image_size: side of the backbone's input in pixels, used once to find its layers.
    """

    mask_layers: Sequence[str] = ()
    width: Count = 64
    image_size: Count = 224


class MaskingExplainer(Explainer):
    """A trained network that gives the mask of any class in one pass: real-time saliency.

    Its encoder is the frozen backbone; the decoder alone is trained, so that what the mask shows keeps the class, and what it
    hides loses it, see `vitrine.explainers.masking.losses`.

    Args:
        backbone: the frozen classifier.
        options: which features are read, and how wide the decoder is.
        classes: names of the backbone's logits.
        preprocessing: how images are prepared for the backbone.

    Raises:
        OptionError: for an image size that the backbone does not take, and layers without places in the image.

    Example:
        >>> from torch import nn
        >>> features = nn.Sequential(nn.Conv2d(3, 8, 3, stride=2, padding=1), nn.ReLU())
        >>> model = nn.Sequential(features, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 2))
        >>> explainer = MaskingExplainer(FrozenBackbone(model), MaskingOptions(image_size=16))
        >>> explainer.explain(torch.rand(2, 3, 16, 16)).heatmaps.shape
        torch.Size([2, 1, 16, 16])
    """

    options_type = MaskingOptions
    texts = HeatmapTexts(
        heatmap="The heatmap is a mask, given by a trained network, of the pixels that show the explained class.",
        score="the probability of the explained class",
        percent=True,
    )
    options: MaskingOptions

    def __init__(
        self,
        backbone: FrozenBackbone,
        options: MaskingOptions | None = None,
        classes: Sequence[str] | None = None,
        preprocessing: Preprocessing | None = None,
    ) -> None:
        super().__init__(backbone, options, classes, preprocessing)
        self.check_size(self.options.image_size)
        image = blank_image(backbone.model, self.options.image_size)
        self._layouts: dict[Any, list[MapLayout]] = {}
        self.layers = self._found_layers(image)
        logits, maps = self.features(image)
        self.num_classes = logits.shape[1]
        self.channels = [one.shape[1] for one in maps]
        self.redraw_heads()
        self.options = replace(self.options, mask_layers=self.layers)

    decoder: MaskDecoder

    @property
    @override
    def head_classes(self) -> Sequence[int]:
        return range(self.num_classes)

    @property
    @override
    def class_axes(self) -> Mapping[str, int]:
        return {"decoder.selector.weight": 0}

    @override
    def redraw_heads(self) -> None:
        self.decoder = MaskDecoder(self.channels, self.num_classes, self.options.width)

    def check_size(self, side: int) -> None:
        """Raises OptionError of ``image_size`` where the backbone takes no images of side × side pixels."""
        check_size(self.backbone, side)

    def _found_layers(self, image: Tensor) -> tuple[str, ...]:
        model = self.backbone.model
        with eval_guard(model), torch.inference_mode(mode=False):
            if not self.options.mask_layers:
                return stage_layers(model, image, target_layer(model, image))
            try:
                return tuple(resolve_layer(model, name) for name in self.options.mask_layers)
            except ValueError as error:
                raise OptionError("mask_layers", list(self.options.mask_layers), str(error).rstrip(".")) from error

    def features(self, images: Tensor) -> tuple[Tensor, list[Tensor]]:
        """(B, C) logits and the (B, nₗ, hₗ, wₗ) maps that the decoder reads, without gradient, in float32 or wider."""
        with torch.no_grad(), eval_guard(self.backbone.model):
            logits, taps = self.backbone(images, self.layers)
        layouts = self.layouts_of(taps, images)
        maps = [in_full(layout(taps[name])) for name, layout in zip(self.layers, layouts, strict=True)]
        return in_full(logits), maps

    def layouts_of(self, taps: dict[str, Tensor], images: Tensor) -> list[MapLayout]:
        """Where each value of the taps is in the image; kept, as grids of tokens are found by running the network."""
        kind = images.shape[1:], images.device
        if kind not in self._layouts:
            model = self.backbone.model
            with eval_guard(model), torch.inference_mode(mode=False):
                one = images[:1].clone()
                self._layouts[kind] = [layout_of_layer(model, name, taps[name][:1], one) for name in self.layers]
        return self._layouts[kind]

    def masks(self, maps: Sequence[Tensor], classes: Tensor) -> Tensor:
        """(R, 1, h, w) masks at the finest map's resolution, with gradient to the decoder."""
        masks: Tensor = self.decoder(maps, classes)
        return masks

    def log_probabilities(self, images: Tensor, masks: Tensor, background: Tensor, classes: Tensor) -> Tensor:
        """(R,) log f_c of what masks show, with gradient to them.

        Args:
            images: (R, C, H, W).
            masks: (R, 1, h, w), which are enlarged.
            background: (R, C, H, W).
            classes: (R,) int64.
        """
        enlarged = self._enlarged(masks, images).to(images.dtype)
        shown = torch.lerp(background, images, enlarged)
        with without_checkpointing():
            logits = self.backbone(shown).logits
        if shown.requires_grad:
            check_gradient(logits, shown, self.backbone.model)
        logs = class_log_probabilities(logits, multi_label=self.multi_label)
        return logs.gather(1, classes[:, None]).squeeze(1)

    def explain_batch(self, images: Tensor, target: Target) -> Explanation:
        """One heatmap an image: its mask in [0, 1], with the class's probability in the image as its score."""
        with torch.inference_mode(mode=False), torch.no_grad():
            logits, maps = self.features(images)
            prediction = logits.argmax(dim=1)
            classes = target_classes(target, prediction, self.num_classes)
            heatmaps = self._enlarged(self.masks(maps, classes), images)
        probabilities = class_probabilities(logits, multi_label=self.multi_label)
        names = [[f"mask of {self.class_name(int(c))}"] for c in classes]
        scores = probabilities.gather(1, classes[:, None])
        return Explanation(heatmaps, scores, names, prediction, classes, logits, aggregation="maximum")

    @staticmethod
    def _enlarged(masks: Tensor, images: Tensor) -> Tensor:
        return F.interpolate(masks, images.shape[2:], mode="bilinear", align_corners=False)
