"""Capabilities: what explainers and attribution methods can do at each layer of a network, found by trying on one image."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from vitrine.attribution import GradCAM, Method
from vitrine.attribution.autograd.backward import ForwardTrace, Visit, forward_trace
from vitrine.attribution.layouts import grid_of_tokens, is_tokens
from vitrine.attribution.registry import all_methods
from vitrine.attribution.target_layer import target_layer
from vitrine.backbones.classifier_layer import input_channels
from vitrine.backbones.features import TappedFeatures
from vitrine.backbones.frozen import FrozenBackbone
from vitrine.backbones.guard import eval_guard
from vitrine.backbones.map_layouts import channels_last, layout_of_map
from vitrine.backbones.outputs import logits_given
from vitrine.backbones.pooling import POOLINGS
from vitrine.explainers.inversion.explainer import InversionExplainer, InversionOptions
from vitrine.explainers.mu_lasso.explainer import MuLassoExplainer, MuLassoOptions
from vitrine.explainers.srae.explainer import SRAEExplainer, SRAEOptions

FEW_STEPS = {"inversion_steps": 1, "class_steps": 1}
ELEMENTS_OF = (nn.Sequential, nn.ModuleList, nn.ModuleDict)
"""Containers whose elements are the blocks of a network."""


@dataclass(frozen=True)
class Trial:
    """Whether something works, and the sentence where it does not."""

    works: bool
    reason: str = ""
    is_fault: bool = False
    """Whether it failed by another error than one that tells a user what to change."""


@dataclass(frozen=True)
class LayerCapabilities:
    """What can be done at a layer."""

    name: str
    """Dotted name."""
    module: str
    """Class of the layer."""
    shape: tuple[int, ...]
    """Of its output for one image, without the batch."""
    kind: str
    """``map``, ``map, channels last``, ``tokens``, with the grid and the other tokens, ``vector`` or ``other``."""
    poolings: dict[str, Trial] = field(default_factory=dict)
    """Whether SRAE's head can be made, by pooling."""
    drawn: Trial = Trial(works=False)
    """Whether SRAE draws the first of these on an image."""
    filters: int = 0
    """Number of filters that the μ-Lasso has here; 0 for none."""
    by_default: bool = False
    """Whether the μ-Lasso takes them without being told."""
    filters_drawn: Trial = Trial(works=False)
    """Whether it draws one."""
    inversion_layer: Trial = Trial(works=False)
    """Whether it can be l₀ of an inversion mask."""
    mask_layer: Trial = Trial(works=False)
    """Whether it can be l₁."""
    cam: Trial = Trial(works=False)
    """Whether Grad-CAM can be drawn over it."""


@dataclass(frozen=True)
class Defaults:
    """The layers that are taken where none are named; None where there is none."""

    target_layer: str | None
    """Of class activation maps."""
    inversion_layer: str | None
    """l₀."""
    mask_layers: tuple[str, ...]
    """l₁."""
    num_classes: int
    """Number of logits."""


class CapabilityTrials:
    """Tries explainers and methods on one image of noise.

    Args:
        backbone: the network.
        image_size: side of its input in pixels.

    Raises:
        ValueError: for a network that takes no images of this size.
    """

    def __init__(self, backbone: FrozenBackbone, image_size: int) -> None:
        self.backbone = backbone
        self.image_size = image_size
        model = backbone.model
        weight = next((one for one in model.parameters() if one.is_floating_point()), torch.empty(0))
        generator = torch.Generator().manual_seed(0)
        noise = torch.randn(1, input_channels(model), image_size, image_size, generator=generator)
        self.image: Tensor = noise.to(weight)
        backbone(self.image)
        with eval_guard(model), logits_given(model), torch.inference_mode(mode=False):
            self.trace: ForwardTrace = forward_trace(model, self.image)
        self.selected = self._default_filters()

    def layers(self, *, all_layers: bool = False) -> list[Visit]:
        """The layers that give tensors, in the order in which they run: those of blocks, or also all that are in blocks."""
        visits = self.trace.last_of_each()
        outermost: dict[Any, Visit] = {}
        for visit in visits:
            known = outermost.get(visit.edge[:2])
            if known is None or visit.layer.count(".") < known.layer.count("."):
                outermost[visit.edge[:2]] = visit
        kept = [visit for visit in visits if visit in outermost.values() and visit.layer]
        if all_layers:
            return kept
        names = {visit.layer for visit in visits}
        return [visit for visit in kept if not any(self._is_block(name, names) for name in _ancestors(visit.layer))]

    def _is_block(self, name: str, names: set[str]) -> bool:
        parent, _, _ = name.rpartition(".")
        model = self.backbone.model
        is_element = bool(parent) and isinstance(model.get_submodule(parent), ELEMENTS_OF)
        return name in names and is_element and not isinstance(model.get_submodule(name), ELEMENTS_OF)

    def described(self, visit: Visit) -> LayerCapabilities:
        """A layer, without what can be done at it."""
        module = self.backbone.model.get_submodule(visit.layer)
        return LayerCapabilities(visit.layer, type(module).__name__, tuple(visit.shape[1:]), self._kind(visit))

    def tried(self, layer: LayerCapabilities) -> LayerCapabilities:
        """A layer, with what can be done at it."""
        poolings: dict[str, Trial] = {name: _tried(partial(self._pool, layer.name, name)) for name in POOLINGS}
        first = next((name for name, trial in poolings.items() if trial.works), None)
        selector = self._mu_lasso(layer.name)
        return replace(
            layer,
            poolings=poolings,
            drawn=Trial(works=False) if first is None else _tried(partial(self._draw_srae, layer.name, first)),
            filters=0 if selector is None else selector.responses.num_filters,
            by_default=layer.name in self.selected,
            filters_drawn=Trial(works=False) if selector is None else _tried(partial(self._draw_filter, selector)),
            inversion_layer=_tried(partial(self._draw_mask, inversion_layer=layer.name)),
            mask_layer=_tried(partial(self._draw_mask, mask_layers=[layer.name])),
            cam=_tried(partial(GradCAM(self.backbone.model, layer.name).attribute, self.image)),
        )

    def defaults(self) -> Defaults:
        """The layers that are taken where none are named."""
        model = self.backbone.model
        try:
            with eval_guard(model), logits_given(model), torch.inference_mode(mode=False):
                target: str | None = target_layer(model, self.image)
        except ValueError:
            target = None
        try:
            layers = self._inversion().layers
        except ValueError:
            return Defaults(target, None, (), self.trace.logits.shape[1])
        return Defaults(target, layers.inversion, layers.mask, self.trace.logits.shape[1])

    def methods(self, layer: str | None) -> Iterator[tuple[str, Trial]]:
        """Each attribution method by name, and whether it works with its defaults, slow ones with fewer steps.

        Args:
            layer: for methods that need one named.
        """
        for name, method in all_methods().items():
            make = partial(method, self.backbone.model, **method.quick_options)
            if method.explains_classes:
                yield name, _tried(partial(self._draw, make))
            else:
                yield name, _tried(partial(self._draw, make, layer=layer, channel=0))

    def explainers(self, layer: str) -> Iterator[tuple[str, Trial]]:
        """Each explainer, named with its choices, and whether it explains the image.

        SRAE takes the first pooling that works; the μ-Lasso its default layers, or the named one where it has none; the
        inversion mask its default layers.

        Args:
            layer: of SRAE.
        """
        pooling = next((name for name in POOLINGS if _tried(partial(self._pool, layer, name)).works), POOLINGS[0])
        yield f"SRAE at {layer}, {pooling}", _tried(partial(self._draw_srae, layer, pooling))
        layers: Any = "all" if self.selected else [layer]
        yield f"MuLasso at {layers if self.selected else layer}", _tried(partial(self._draw_filter_of, layers))
        yield "InversionMask", _tried(self._draw_mask)

    # What is tried

    def _draw(self, make: Callable[..., Method], channel: int | None = None, **options: Any) -> None:
        make(**options).attribute(self.image, channel=channel)

    def _kind(self, visit: Visit) -> str:
        layout = layout_of_map(visit.shape, self.trace.size)
        if layout is not None:
            return "map, channels last" if layout is channels_last else "map"
        if is_tokens(visit):
            with eval_guard(self.backbone.model):
                grid = grid_of_tokens(self.trace, visit.shape[1], visit.shape[2])
            if grid is None:
                return "tokens"
            rows, columns = grid.tokens.shape
            others = visit.shape[1] - rows * columns
            return f"tokens {rows}×{columns}" + (f" + {others}" if others else "")
        return "vector" if len(visit.shape) == 2 or visit.shape[1:].numel() == visit.shape[1] else "other"

    def _pool(self, layer: str, pooling: str) -> None:
        features = TappedFeatures(self.backbone, layer, pooling)
        features.sizes(self.image_size)
        if not features.is_read(self.image):
            raise ValueError(f"The logits do not depend on what pooling {pooling!r} takes of layer {layer!r}.")

    def _srae(self, layer: str, pooling: str) -> SRAEExplainer:
        options = SRAEOptions(
            layer=layer,
            pooling=pooling,  # type: ignore[arg-type]  # one of those that there are
            num_features=1,
            hidden=(),
            decoder=False,
            explained_classes=[0],
            image_size=self.image_size,
        )
        return SRAEExplainer(self.backbone, options)

    def _draw_srae(self, layer: str, pooling: str) -> None:
        self._srae(layer, pooling).explain(self.image, target=0)

    def _default_filters(self) -> set[str]:
        try:
            explainer = MuLassoExplainer(self.backbone, MuLassoOptions(num_heatmaps=1, image_size=self.image_size))
        except ValueError:
            return set()
        return {layer.name for layer in explainer.responses.layers}

    def _mu_lasso(self, layer: str) -> MuLassoExplainer | None:
        """Of one layer; None where it has no filters."""
        options = MuLassoOptions(layers=[layer], num_heatmaps=1, image_size=self.image_size)
        try:
            return MuLassoExplainer(self.backbone, options)
        except ValueError:
            return None

    def _draw_filter_of(self, layers: Any) -> None:
        options = MuLassoOptions(layers=layers, num_heatmaps=1, image_size=self.image_size)
        self._draw_filter(MuLassoExplainer(self.backbone, options))

    def _draw_filter(self, selector: MuLassoExplainer) -> None:
        selector.weights.data[0, 0] = 1
        selector.explain(self.image, target=0)

    def _inversion(self, **layers: Any) -> InversionExplainer:
        options = InversionOptions("paper", image_size=self.image_size, overrides=FEW_STEPS, **layers)
        return InversionExplainer(self.backbone, options)

    def _draw_mask(self, **layers: Any) -> None:
        self._inversion(**layers).explain(self.image, target=0)


def _ancestors(layer: str) -> Iterator[str]:
    parent = layer.rpartition(".")[0]
    while parent:
        yield parent
        parent = parent.rpartition(".")[0]


def _tried(run: Callable[[], Any]) -> Trial:
    """Runs something; what a user would be told is the reason."""
    try:
        run()
    except (ValueError, RuntimeError, ImportError) as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        return Trial(works=False, reason=reason, is_fault=isinstance(error, RuntimeError))
    except Exception as error:  # noqa: BLE001 - a network's own code may raise anything
        return Trial(works=False, reason=f"{type(error).__name__}: {error}".splitlines()[0], is_fault=True)
    return Trial(works=True)
