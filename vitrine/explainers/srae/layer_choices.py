"""Layers of a network that x-features can be made of and drawn through, found by trying."""

from collections.abc import Iterator
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vitrine.attribution.autograd.backward import noise, noise_image
from vitrine.attribution.autograd.gradient_flow import differentiating
from vitrine.backbones.checkpointing import without_checkpointing
from vitrine.backbones.compiled import check_layers_are_seen
from vitrine.backbones.features import TappedFeatures
from vitrine.backbones.frozen import FrozenBackbone
from vitrine.backbones.guard import eval_guard
from vitrine.core.near_names import near_names
from vitrine.explainers.srae.drawing import Drawing

NEAR = 4
"""Near names, and layers within a named one, that are tried before others."""
FALLBACKS = ("average", "mean_tokens", "none", "flatten")
"""Poolings that are tried where the chosen one makes no vectors of a layer, one of which does for any."""


class LayerChoice(NamedTuple):
    """A layer whose x-features can be drawn, and the pooling that makes vectors of it."""

    layer: str
    pooling: str

    def told(self, pooling: str) -> str:
        """As a sentence goes on after ``give``; the pooling is named where it is another than the given one."""
        return f"{self.layer!r}{'' if pooling == self.pooling else f' with pooling {self.pooling!r}'}, which works"


class LayerChoices:
    """Tries layers of a network: whether a pooling makes vectors of their output, and the explainer can draw these.

    Args:
        backbone: the network.
        pooling: that is tried first.
        image_size: side of the images in pixels, which the network takes.
        drawing: how the explainer draws.
    """

    def __init__(
        self,
        backbone: FrozenBackbone,
        pooling: str,
        image_size: int,
        drawing: Drawing,
    ) -> None:
        self.backbone = backbone
        self.poolings = [pooling, *(other for other in FALLBACKS if other != pooling)]
        self.image_size = image_size
        self.drawing = drawing

    def nearest(self, layer: str) -> LayerChoice | None:
        """A layer that works instead of one that does not.

        Tried first are the last ones within it, those that contain it and those that run before it, or those of near names
        where there is no such layer; then `last`.
        """
        names = self.layers()
        within = [name for name in reversed(names) if name.startswith(f"{layer}.")][:NEAR]
        if layer in names:
            parts = layer.split(".")
            around = [name for name in names if layer.startswith(f"{name}.") and len(parts) - name.count(".") == 2]
            before = [name for name in reversed(names[: names.index(layer)]) if not name.startswith(f"{layer}.")]
            near = [*around, *before[:NEAR]]
        else:
            near = [*within, *near_names(layer, names, NEAR)]
        return next(filter(None, map(self.tried, dict.fromkeys(near))), None) or self.last()

    def last(self) -> LayerChoice | None:
        """The last layer, in the order in which they run, up to which the network can be drawn; None if there is none.

        Found by halving, as what is refused on the way to a layer is refused on the way to all later ones. A layer that is a
        part of a block which cannot be drawn is only taken if there is no other, and so is the one that gives the classes.
        """
        names = self.layers()
        low, high = 0, len(names)
        while low < high:
            middle = (low + high) // 2
            low, high = (middle + 1, high) if self.tried(names[middle]) else (low, middle)
        drawn, refused = names[:low], set(names[low:])
        whole = [name for name in reversed(drawn) if not refused & set(self._blocks_around(name))]
        weighted = [
            name for name in names if isinstance(self.backbone.model.get_submodule(name), nn.Linear | nn.Conv2d)
        ]
        below = [name for name in whole if name not in weighted[-1:]]
        return next(filter(None, map(self.tried, [*below[:NEAR], *drawn[:-2:-1]])), None)

    def layers(self) -> list[str]:
        """The layers that give a tensor which depends on the image, by their last call, in order."""
        ended: dict[str, None] = {}

        def recorder(name: str) -> Any:
            def record(_module: nn.Module, _inputs: Any, output: Any) -> None:
                if isinstance(output, Tensor) and output.requires_grad:
                    ended.pop(name, None)
                    ended[name] = None

            return record

        model, image = self.backbone.model, self._image()
        check_layers_are_seen(model, "The search for a layer")
        handles = [module.register_forward_hook(recorder(name)) for name, module in model.named_modules() if name]
        try:
            with eval_guard(model), torch.inference_mode(mode=False), torch.enable_grad(), without_checkpointing():
                model(image.requires_grad_().clone())
        finally:
            for handle in handles:
                handle.remove()
        return list(ended)

    def tried(self, layer: str) -> LayerChoice | None:
        """The choice of a layer, with the first pooling that makes vectors of it which depend on the image; None if none."""
        for pooling in self.poolings:
            features = TappedFeatures(self.backbone, layer, pooling)
            try:
                width = features.sizes(self.image_size).width
                check_depends(features, self._image())
            except ValueError:
                continue
            try:  # an error is one of the network, whatever the pooling
                return LayerChoice(layer, pooling) if self._map(features, width).isfinite().all() else None
            except (ValueError, RuntimeError):
                return None
        return None

    def _map(self, features: TappedFeatures, width: int) -> Tensor:
        """(1, 1, H, W) map of a linear function of the features."""
        weight = noise((1, width), torch.empty(0))

        def head(images: Tensor) -> tuple[Tensor, None]:
            return F.linear(features(images)["features"], weight.to(images)), None

        image = self._image()
        chosen = torch.zeros(1, 1, dtype=torch.int64, device=image.device)
        return self.drawing.maps(head, image, chosen)[0]

    def _image(self) -> Tensor:
        return noise_image(self.backbone.model, self.image_size)

    def _blocks_around(self, layer: str) -> Iterator[str]:
        """The modules that a layer is a part of, without those that only hold layers that run one after the other."""
        outer = layer.rpartition(".")[0]
        while outer:
            if not isinstance(self.backbone.model.get_submodule(outer), nn.Sequential | nn.ModuleList):
                yield outer
            outer = outer.rpartition(".")[0]


def check_depends(features: TappedFeatures, image: Tensor) -> None:
    """Makes sure that features depend on the image, which a class token that has not looked at patches yet does not.

    Args:
        features: of a layer.
        image: (1, C, H, W).

    Raises:
        ValueError: where no gradient leads from them to the image.
    """
    with torch.inference_mode(mode=False), differentiating(features.backbone.model):
        pixels = image.clone().requires_grad_()
        vectors = features(pixels)["features"]
    vjp = None
    if vectors.requires_grad:
        (vjp,) = torch.autograd.grad(vectors, pixels, noise(vectors.shape, vectors), allow_unused=True)
    if vjp is None or not bool(vjp.any()):
        raise ValueError(f"With pooling {features.pooling!r} layer {features.layer!r} gives the same for any image.")
