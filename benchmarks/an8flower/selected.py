"""Maps of the filters that the μ-Lasso selects, by three means: upsampled activation, Deconv+GB, and the paper's own."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from types import MappingProxyType
from typing import Literal

import torch
from rich.progress import track
from torch import Tensor, nn

from benchmarks.an8flower.data import Flowers
from benchmarks.an8flower.methods import MAP_LAYERS, Reading, area, best_reading
from vitrine.attribution.gradient.deconvnet import GuidedBackprop
from vitrine.backbones.frozen import FrozenBackbone
from vitrine.backbones.taps import captured
from vitrine.core.explanation import Aggregation, Explanation
from vitrine.core.image_ops import upsampled
from vitrine.explainers import MuLassoExplainer, MuLassoFit
from vitrine.explainers.mu_lasso.explainer import MuLassoOptions
from vitrine.filters.heatmaps import Filter, filter_heatmaps
from vitrine.filters.scaling import Scaling

MEANS = ("Upsampled activation", "Deconv+GB", "Ours")
"""Those of the paper."""
RECTIFIED = MAP_LAYERS[:5]
LAYERS = (RECTIFIED[1:], RECTIFIED[2:], RECTIFIED[3:])
MUS: dict[Scaling, tuple[float, ...]] = {
    "paper": (10.0, 30.0),
    "width": (1.0,),
    "unit": (10.0,),
    "standardized": (0.3, 0.6, 1.5),
}
"""μ bounds the weights of scaled responses, so that each scaling has values of its own."""
COUNTS = (2, 3, 5)
FLOORS = (0.5, 1.0)
"""In units of a filter's usual maximum."""
AGGREGATIONS: tuple[Aggregation, ...] = ("maximum", "sum")
FIRST_LOOK = Reading()
LOOKED_INTO = 5


@dataclass(frozen=True)
class Selection:
    """How filters are selected, and their maps joined."""

    layers: tuple[str, ...] | Literal["all"]
    scaling: Scaling
    mu: float
    count: int
    aggregation: Aggregation


PAPER = Selection("all", "paper", 10.0, 5, "maximum")
"""The paper's own setting: all layers but the last, μ = 10."""


class Selector:
    """Fits the weights of every selection on the training images of a fold, each set of layers once.

    Args:
        network: the classifier.
        train: its training images.
        size: side of its input.
    """

    def __init__(self, network: nn.Module, train: Flowers, size: int) -> None:
        self.backbone = FrozenBackbone(network)
        self.train = train
        self.size = size
        self.fitted: dict[tuple[tuple[str, ...] | str, str], list[tuple[float, MuLassoExplainer]]] = {}

    def explainer(self, selection: Selection) -> MuLassoExplainer:
        """The explainer with the selection's weights."""
        key = (selection.layers, selection.scaling)
        if key not in self.fitted:
            self.fitted[key] = self._fit(*key)
        return next(explainer for mu, explainer in self.fitted[key] if mu == selection.mu)

    def picks(self, selection: Selection, images: Tensor) -> tuple[Tensor, list[list[Filter]]]:
        """(M, K) scores of the strongest filters for the predicted class, and the filters."""
        explainer = self.explainer(selection)
        with torch.no_grad():
            seen = explainer.responses(images)
            strength = explainer.scaling(seen["features"]) * explainer.weights.T[seen["logits"].argmax(dim=1)]
            scores, indices = strength.topk(min(selection.count, strength.shape[1]), dim=1)
        return scores.cpu(), [[explainer.filter(index) for index in row] for row in indices.tolist()]

    def _fit(self, layers: tuple[str, ...] | Literal["all"], scaling: Scaling) -> list[tuple[float, MuLassoExplainer]]:
        first, *others = MUS[scaling]
        explainer = self._new(layers, scaling, first)
        fit = MuLassoFit(explainer, len(self.train.labels))
        with torch.no_grad():
            for images, labels in zip(*(torch.split(column, 256) for column in self.train[:2]), strict=True):
                fit.update(explainer.responses(images.float())["features"], labels)
        solution = fit.finish(first)
        fitted = [(first, explainer)]
        for mu in others:
            other = self._new(layers, scaling, mu)
            other.load_state_dict(explainer.state_dict())
            other.weights.data.copy_(solution.at(mu).weights)
            fitted.append((mu, other))
        return fitted

    def _new(self, layers: tuple[str, ...] | Literal["all"], scaling: Scaling, mu: float) -> MuLassoExplainer:
        names = layers if isinstance(layers, str) else list(layers)
        return MuLassoExplainer(
            self.backbone, MuLassoOptions(layers=names, scaling=scaling, mu=mu, image_size=self.size)
        )


class FilterMaps:
    """Maps of any filters on some images by one means, each drawn once.

    Args:
        means: one of `MEANS`.
        network: the classifier.
        images: (M, 3, H, W).
        floor: what an activation map must exceed, in units of the filter's usual maximum.
        usual: usual maxima by layer, (C,) each; needed with a floor.
    """

    def __init__(
        self,
        means: str,
        network: nn.Module,
        images: Tensor,
        floor: float = 0.0,
        usual: Mapping[str, Tensor] = MappingProxyType({}),
    ) -> None:
        self.means = means
        self.network = network
        self.images = images
        self.floor = floor
        self.usual = usual
        self.method = GuidedBackprop(network, stride_one=means == "Ours")
        self.drawn: dict[tuple[int, Filter], Tensor] = {}

    def draw(self, picks: Sequence[Sequence[Filter]]) -> None:
        """Draws what is not there yet of each image's filters, all of an image at once."""
        for image, row in enumerate(picks):
            missing = [pick for pick in dict.fromkeys(row) if (image, pick) not in self.drawn]
            if missing:
                maps = self._draw(self.images[image : image + 1], missing)
                self.drawn.update(((image, pick), map_) for pick, map_ in zip(missing, maps, strict=True))

    def of(self, picks: Sequence[Sequence[Filter]]) -> Tensor:
        """(M, K, H, W) for K filters of each image."""
        self.draw(picks)
        return torch.stack([torch.stack([self.drawn[i, pick] for pick in row]) for i, row in enumerate(picks)]).float()

    def _draw(self, image: Tensor, picks: list[Filter]) -> Tensor:
        """(K, H, W)."""
        if self.means != MEANS[0]:
            floors = (
                [self.floor * float(self.usual[layer][channel]) for layer, channel in picks] if self.floor else None
            )
            drawn = filter_heatmaps(
                self.method, image, [picks], thresholds=None if floors is None else torch.tensor([floors])
            )
            return drawn[0].abs().amax(dim=1).cpu()
        with torch.no_grad(), captured(self.network, sorted({layer for layer, _ in picks})) as outputs:
            self.network(image)
        maps = [outputs[layer][:, channel : channel + 1] for layer, channel in picks]
        # A fully-connected layer has no map: it is drawn as nothing, as in the paper.
        return torch.stack(
            [upsampled(map_.clamp(min=0), image)[0, 0] if map_.ndim == 4 else 0 * image[0, 0] for map_ in maps]
        ).cpu()


def usual_maxima(network: nn.Module, images: Tensor) -> dict[str, Tensor]:
    """By layer the median over (N, 3, H, W) images of each filter's largest activation, (C,)."""
    found: dict[str, list[Tensor]] = {layer: [] for layer in RECTIFIED}
    with torch.no_grad():
        for part in torch.split(images, 256):
            with captured(network, RECTIFIED) as outputs:
                network(part.float())
            for layer, output in outputs.items():
                found[layer].append(output.flatten(2).amax(dim=2))
    return {layer: torch.cat(parts).median(dim=0).values.cpu() for layer, parts in found.items()}


def joined(maps: Tensor, scores: Tensor, aggregation: Aggregation) -> Tensor:
    """(M, H, W): the K maps of each image as one."""
    nothing = torch.zeros(len(maps), dtype=torch.int64)
    labels = [[""] * scores.shape[1]] * len(maps)
    explanation = Explanation(maps, scores, labels, nothing, nothing, scores, aggregation=aggregation)
    return explanation.aggregate()[:, 0]


def selections() -> Iterator[Selection]:
    """All that may be chosen."""
    for layers, (scaling, mus), count, aggregation in product(LAYERS, MUS.items(), COUNTS, AGGREGATIONS):
        for mu in mus:
            yield Selection(layers, scaling, mu, count, aggregation)


@dataclass(frozen=True)
class Chosen:
    """What did best on training images."""

    area: float
    selection: Selection
    reading: Reading


def choose(selector: Selector, maps: FilterMaps, masks: Tensor, among: Sequence[Selection]) -> Chosen:
    """The selection and the reading of highest area; readings are tried on the best five selections under a first reading."""
    wanted = zip(*(selector.picks(selection, maps.images)[1] for selection in among), strict=True)
    maps.draw([[pick for row in of_image for pick in row] for of_image in wanted])
    found = []
    for selection in track(among, f"choosing: {maps.means}", transient=True):
        joint = maps_of(selector, maps, selection)
        found.append((area(joint, masks, FIRST_LOOK), selection))
    found.sort(key=lambda one: -one[0])
    looked_into = [(best_reading(maps_of(selector, maps, s), masks), s) for _, s in found[:LOOKED_INTO]]
    (height, reading), selection = max(looked_into, key=lambda one: one[0][0])
    return Chosen(height, selection, reading)


def choose_join(selector: Selector, maps: FilterMaps, masks: Tensor, selection: Selection) -> Chosen:
    """For given filters, how their maps are joined and read."""
    return choose(selector, maps, masks, [replace(selection, aggregation=way) for way in AGGREGATIONS])


def maps_of(selector: Selector, maps: FilterMaps, selection: Selection) -> Tensor:
    """(M, H, W): for each image, the joined maps of its filters."""
    scores, picks = selector.picks(selection, maps.images)
    return joined(maps.of(picks), scores, selection.aggregation)
