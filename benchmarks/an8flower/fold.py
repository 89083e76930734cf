"""One fold: all methods tuned on its training views and measured on its test views, with pictures."""

import argparse
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from PIL import Image
from torch import Tensor, nn

from benchmarks.an8flower.data import Flowers, Folds, spread
from benchmarks.an8flower.methods import LAYER, NAMES, Choice, Reading, area, best_reading, choices, fit_srae, is_slow
from benchmarks.an8flower.network import logits_of
from benchmarks.an8flower.selected import (
    FLOORS,
    MEANS,
    PAPER,
    Chosen,
    FilterMaps,
    Selector,
    choose,
    choose_join,
    maps_of,
    selections,
    usual_maxima,
)
from vitrine.visualization.grid import captioned_grid
from vitrine.visualization.overlays import picture

SIDE = 128
FIRST = ("Upsampled activation", "Deconv+GB", "Grad-CAM", "Guided Grad-CAM", "Ours", "Ours, above the usual")
"""As in figure 8 of the paper; the other methods follow."""


def _grey(values: Tensor) -> Tensor:
    """(3, H, W) of (H, W)."""
    return values.expand(3, -1, -1)


OURS = MEANS[-1]
SRAE = "SRAE"
ABOVE = "Ours, above the usual"
"""With a floor that was chosen on training images, 0 among the choices."""


@dataclass
class Outcome:
    """A method on one fold."""

    area: float
    """On the test views."""
    tuned: float
    """On the training views, where the choice was made."""
    choice: str


@dataclass
class FoldRun:
    """What is there of one fold, and what was found.

    Args:
        fold: its images.
        network: its classifier.
        weights: file of the network's weights.
        args: of the command line.
    """

    fold: Folds
    network: nn.Module
    weights: Path
    args: argparse.Namespace
    outcomes: dict[str, Outcome] = field(default_factory=dict)
    shown: dict[str, Tensor] = field(default_factory=dict)
    """(classes, H, W): by method, the maps of the first test image of each class."""

    def __post_init__(self) -> None:
        args, fold = self.args, self.fold
        self.tune = _on(spread(fold.train, args.tune_images, args.seed), args.device)
        self.test = _on(spread(fold.test, args.test_images, args.seed), args.device)
        self.fit = spread(fold.train, args.fit_images, args.seed)
        logits = logits_of(self.network, fold.test.images.float())
        self.classes = logits.shape[1]
        self.accuracy = float((logits.argmax(dim=1) == fold.test.labels).double().mean())
        self.first = [int((self.test.labels == label).nonzero()[0]) for label in range(self.classes)]

    def run(self) -> "FoldRun":
        """All methods."""
        self.run_selected()
        for name in NAMES:
            if name not in self.args.skip:
                self.run_baseline(name, choices(name, self.args.seed), few=is_slow(name))
        if SRAE not in self.args.skip:
            explainer = fit_srae(
                self.weights, self.classes, self.fit, size=self.args.size, epochs=30, seed=self.args.seed
            ).to(self.args.device)
            drawn = Choice(f"{LAYER}, c-MWP", lambda _, images: explainer.attribute(images)[:, 0].cpu())
            self.run_baseline(SRAE, [drawn], few=False)
        return self

    def run_baseline(self, name: str, among: Iterable[Choice], *, few: bool) -> None:
        """The choice and the reading that do best on training images."""
        tune, test = [self._few(part) if few else part for part in (self.tune, self.test)]
        found = []
        for choice in among:
            height, reading = best_reading(choice.draw(self.network, tune.images), tune.masks)
            found.append((height, choice, reading))
        height, choice, reading = max(found, key=lambda one: one[0])
        told = f"{choice.what}, σ {reading.sigma:g}, power {reading.power:g}"
        self._record(name, choice.draw(self.network, test.images), test, reading, height, told)

    def run_selected(self) -> None:
        """The three means with the filters that are best for ours, each with its own best, and the paper's setting."""
        selector = Selector(self.network, self.fit, self.args.size)
        maps = {name: FilterMaps(name, self.network, self.tune.images) for name in MEANS}
        every, masks = list(selections()), self.tune.masks
        own = {name: choose(selector, maps[name], masks, every) for name in MEANS}
        same = {name: choose_join(selector, maps[name], masks, own[OURS].selection) for name in MEANS[:-1]}
        paper = choose_join(selector, maps[OURS], masks, PAPER)
        rows = [(name, name, chosen) for name, chosen in {**same, OURS: own[OURS]}.items()]
        rows += [(f"{name}, own filters", name, own[name]) for name in MEANS[:-1]]
        drawn = {name: FilterMaps(name, self.network, self.test.images) for name in MEANS}
        for title, name, chosen in [*rows, (f"{OURS}, the paper's selection", OURS, paper)]:
            self._record_chosen(title, selector, drawn[name], chosen)
        self._run_above(selector, own[OURS])

    def _run_above(self, selector: Selector, whole: Chosen) -> None:
        """Ours with the best floor, and Deconv+GB with all the same choices, which tells what stride one adds."""
        usual = usual_maxima(self.network, selector.train.images)
        found = [(whole, 0.0)]
        for floor in FLOORS:
            maps = FilterMaps(OURS, self.network, self.tune.images, floor, usual)
            found.append((choose(selector, maps, self.tune.masks, list(selections())), floor))
        chosen, floor = max(found, key=lambda one: one[0].area)
        for title, name in ((ABOVE, OURS), (f"{MEANS[1]}, above the usual", MEANS[1])):
            maps = FilterMaps(name, self.network, self.test.images, floor, usual)
            self._record_chosen(title, selector, maps, chosen)

    def _record_chosen(self, title: str, selector: Selector, maps: FilterMaps, chosen: Chosen) -> None:
        told = f"{chosen.selection}, {chosen.reading}, floor {maps.floor:g}"
        self._record(title, maps_of(selector, maps, chosen.selection), self.test, chosen.reading, chosen.area, told)

    def _record(self, name: str, maps: Tensor, test: Flowers, reading: Reading, tuned: float, choice: str) -> None:
        self.outcomes[name] = Outcome(area(maps, test.masks, reading), tuned, choice)
        if test is self.test:
            self.shown[name] = reading(maps[self.first])

    def _few(self, flowers: Flowers) -> Flowers:
        plain = flowers._replace(images=flowers.images.cpu())
        return _on(spread(plain, self.args.slow_images, self.args.seed), self.args.device)


def _on(flowers: Flowers, device: str) -> Flowers:
    """Images as float32 on a device; masks stay, as maps are read on the CPU."""
    return flowers._replace(images=flowers.images.float().to(device))


def picture_of(run: FoldRun) -> Image.Image:
    """A row a class: the first test image, its mask, and each method's map as it is read."""
    names = [*FIRST, *(name for name in run.shown if name not in FIRST)]
    rows = []
    for label, row in enumerate(run.first):
        cells = [("image", run.test.images[row].cpu() / 2 + 0.5), ("mask", _grey(run.test.masks[row].float()))]
        cells += [(name, _grey(run.shown[name][label])) for name in names if name in run.shown]
        rows.append([(name, picture(pixels).resize((SIDE, SIDE))) for name, pixels in cells])
    return captioned_grid(rows)
