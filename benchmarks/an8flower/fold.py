"""One fold of one network: every method chosen on training views and measured on test views, with its maps of some images."""

import argparse
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from rich.console import Console
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from benchmarks.an8flower.data import Flowers, Folds, spread
from benchmarks.an8flower.methods import NAMES, Choice, choices, map_layers
from benchmarks.an8flower.network import Architecture, logits_of, train
from benchmarks.an8flower.readings import best_reading, figures
from benchmarks.an8flower.trained import (
    FittedSRAEs,
    fitted_sraes,
    inversion_choices,
    mu_lasso_choices,
    srae_choices,
    srae_relevance_choices,
)
from vitrine.core.atomic_io import atomic_file
from vitrine.visualization.grid import captioned_grid
from vitrine.visualization.overlays import picture

SIDE = 96
OURS = ("SRAE", "SRAE by LRP", "μ-Lasso", "Inversion mask")
ALL = (*OURS, *NAMES)


def trained(fold: Folds, classes: int, how: Architecture, path: Path, args: argparse.Namespace, seed: int) -> nn.Module:
    """The fold's network, from ``path`` where an earlier run has left it there."""
    torch.manual_seed(seed)
    network = how.build(classes, args.size).to(args.device)
    if path.is_file():
        network.load_state_dict(load_file(path))
        return network.eval()
    train(network, fold.train.images, fold.train.labels, how, epochs=args.epochs or how.epochs, seed=seed)
    with atomic_file(path) as partial:
        save_file(network.cpu().state_dict(), partial)
    return network.to(args.device)


class FoldRun:
    """The methods on one fold; each outcome is written to ``path`` as soon as it is there, and kept by a later run.

    Args:
        fold: its images.
        how: what network it is.
        network: the trained classifier.
        weights: file of the network's weights.
        path: of the outcomes, JSON; the maps of some images lie beside it.
        args: of the command line.
    """

    def __init__(
        self, fold: Folds, how: Architecture, network: nn.Module, weights: Path, path: Path, args: argparse.Namespace
    ) -> None:
        self.how, self.network, self.weights, self.path, self.args = how, network, weights, path, args
        logits = logits_of(network, fold.test.images)
        self.classes = logits.shape[1]
        parts = (fold.train, args.fit_images), (fold.train, args.tune_images), (fold.test, args.test_images)
        self.fit, self.tune, self.test = (spread(part, -(-count // self.classes), args.seed) for part, count in parts)
        self.tune, self.test = _on(self.tune, args.device), _on(self.test, args.device)
        self.layers = map_layers(network, self.tune.images)
        self.first = torch.tensor([int((self.test.labels == c).nonzero()[0]) for c in range(self.classes)])
        self.maps_file = path.with_suffix(".safetensors")
        self.shown: dict[str, Tensor] = load_file(self.maps_file) if self.maps_file.is_file() else {}
        self.found: dict[str, Any] = (
            json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {"outcomes": {}}
        )
        self.sraes: FittedSRAEs = []
        self.found["accuracy"] = float((logits.argmax(dim=1) == fold.test.labels).double().mean())
        self.found["layers"] = self.layers

    def run(self) -> dict[str, Any]:
        """Adds the outcomes of the methods that are wanted and not there yet."""
        for name in self.args.methods:
            if name not in self.found["outcomes"]:
                self.found["outcomes"][name] = self.outcome(name)
                with atomic_file(self.maps_file) as partial:
                    save_file(self.shown, partial)
                with atomic_file(self.path) as partial:
                    partial.write_text(json.dumps(self.found), encoding="utf-8")
        return self.found

    def outcome(self, name: str) -> dict[str, Any]:
        """The figures of each test image, by the choice and reading that do best on training images; or a refusal."""
        tried, refused = [], ""
        for choice in self._choices(name):
            try:
                tried.append((best_reading(choice.draw(self.tune.images), self.tune.masks), choice))
            except ValueError as error:
                refused = str(error)
        if not tried:
            return {"refused": refused}
        (tuned, reading), choice = max(tried, key=lambda one: one[0][0])
        maps = reading(choice.draw(self.test.images))
        self.shown[name] = maps[self.first]
        told = f"{choice.what}, σ {reading.sigma:g}, power {reading.power:g}"
        Console().print(f"{self.path.stem}: {name}: {tuned:.1f} tuned, {told}", highlight=False)
        return {**figures(maps, self.test.masks), "tuned": tuned, "choice": told}

    def _choices(self, name: str) -> Iterator[Choice]:
        if name.startswith("SRAE"):
            self.sraes = self.sraes or fitted_sraes(self.how, self.weights, self.fit, self.layers, self.args.seed)
            return srae_choices(self.sraes) if name == "SRAE" else srae_relevance_choices(self.sraes)
        if name == "μ-Lasso":
            return mu_lasso_choices(self.network, self.fit)
        if name == "Inversion mask":
            return inversion_choices(self.network, self.args.size)
        return choices(name, self.network, self.layers, self.args.seed)

    def panel(self, names: Sequence[str] = (), rows: int = 6) -> Image.Image:
        """A row a class: the first test image, its mask, and each method's map as it is read."""
        found = []
        for label, row in enumerate(self.first[:rows].tolist()):
            cells = [("image", self.test.images[row].cpu() / 2 + 0.5), ("mask", _grey(self.test.masks[row].float()))]
            cells += [(name, _grey(self.shown[name][label])) for name in names or ALL if name in self.shown]
            found.append([(name, picture(pixels).resize((SIDE, SIDE))) for name, pixels in cells])
        return captioned_grid(found)


def _grey(values: Tensor) -> Tensor:
    """(3, H, W) of (H, W)."""
    return values.expand(3, -1, -1)


def _on(flowers: Flowers, device: str) -> Flowers:
    """Images as float32 on a device; masks stay, as maps are read on the CPU."""
    return flowers._replace(images=flowers.images.float().to(device))
