"""The pointing game on VOC 2007: how often a method's map of a class has its maximum on an object of that class.

    python -m benchmarks.pointing_voc --root VOCdevkit --split test \
        --networks squeezenet1_0=squeezenet1_0.pth mobilenet_v2=mobilenet_v2.pth

The listed images are divided into two halves by chance. On each half, a multi-label head (logistic regression on pooled
features and those of mirror images) is fitted to the frozen network, and tested on the other half. A pair is a tested image
and a class with an object in it, difficult objects too. The network sees the whole image squashed to a square; the game is
played at the image's own size, to which maps are upsampled bilinearly, with a tolerance of 15 pixels, as in Zhang et al.
(ECCV 2016). Shares are means over classes; see `vitrine.metrics.PointingGame`.

How a map is read, where it has colours: gradients and what is made of them by the largest absolute value over colours
(Simonyan et al., 2014); integrated gradients and LRP, whose values add up to the logit, by their sum. Methods that work at
single pixels, and excitation backprop, which is taken down to the pixels here, are smoothed by a Gaussian (--blur) before
the maximum is sought; so is the mask of extremal perturbation, which is flat on top, so that its maximum is anywhere there.
The figures without it stand beside them. Nothing else is smoothed.

The slow methods play on a part of the images (--slow-images) and with fewer steps than is usual; the table says how many.
With --predictors, inversion masks are also started from ω that a predictor gives, which was fitted to the network with its
own classes and has not seen those of the head.

Prints a table a network, and rewrites one JSON after each method.
"""

import argparse
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from rich.console import Console
from rich.progress import track
from torch import Tensor

from benchmarks.amortised import add_predictors, amortised_rows
from benchmarks.common import add_common_options, add_networks, show, write_figures
from benchmarks.method_maps import CLASS_METHODS, add_method_options, show_notes, smoothed, spread, timed_maps
from benchmarks.method_table import METHODS, Entry
from benchmarks.voc_head import Half, features_of, fit_halves, multi_hot, pooled_features, read_image
from vitrine.attribution import Method
from vitrine.attribution.target_layer import target_layer
from vitrine.core.batch import Batch, repeat_per_class
from vitrine.core.explanation import Explanation
from vitrine.data.preprocessing import Preprocessing
from vitrine.data.shards.converters.voc import CLASSES, VOC_SPLITS, list_voc
from vitrine.data.shards.sample import Sample
from vitrine.metrics import PointingGame

COUNTS = ("hits", "misses", "degenerate", "skipped")
TOLERANCE = 15.0
"""Of Zhang et al., in pixels of the image."""


@dataclass
class Game:
    """The pointing game of one method on one network, with and without blur."""

    entry: Entry
    blur: float
    plain: PointingGame = field(default_factory=lambda: PointingGame(TOLERANCE))
    smooth: PointingGame = field(default_factory=lambda: PointingGame(TOLERANCE))
    seconds: list[float] = field(default_factory=list)

    def play(self, method: Method, sample: Sample, preprocessing: Preprocessing, device: str) -> None:
        """All pairs of one image."""
        image, size = read_image(sample, preprocessing)
        rows, classes = repeat_per_class(annotation(sample, size))
        maps, seconds = timed_maps(self.entry, method, image.to(device), classes[None].to(device))
        self.seconds.append(seconds)
        self.plain.update(as_explanation(maps, size, classes), rows)
        if self.entry.blurred:
            self.smooth.update(as_explanation(maps, size, classes, self.blur), rows)

    def figures(self) -> dict[str, Any]:
        """What was measured, how many pairs it rests on, and how it was made."""
        figures: dict[str, Any] = {
            "images": len(self.seconds),
            "seconds_per_image": sum(self.seconds) / len(self.seconds),
            "options": self.entry.options,
            "blur": self.blur if self.entry.blurred else 0.0,
            **outcome(self.smooth if self.entry.blurred else self.plain),
        }
        return figures | ({"without_blur": outcome(self.plain)} if self.entry.blurred else {})


def outcome(game: PointingGame) -> dict[str, float | int | None]:
    """Shares and counts by name; None for a share of no pairs."""
    computed = {name.removeprefix("pointing_game/"): float(value) for name, value in game.compute().items()}
    counts = {name: int(computed[name]) for name in COUNTS}
    played = {"all": computed["pointing_game"], "difficult": computed["difficult"]}
    known = {name: None if math.isnan(share) else share for name, share in played.items()}
    return {"pairs": sum(counts.values()) - counts["skipped"], **known, **counts}


def annotation(sample: Sample, size: tuple[int, int]) -> Batch:
    """A batch of one image of a size (H, W), with its boxes at that size."""
    boxes = torch.tensor(sample.boxes, dtype=torch.float32)
    labels, flags = torch.tensor(sample.box_labels), torch.tensor(sample.box_difficult) > 0
    return {
        "key": [sample.key],
        "label": multi_hot([sample], len(CLASSES)),
        "source_size": torch.tensor([size]),
        "source_window": torch.tensor([[0, 0, size[1], size[0]]]),
        "source_boxes": [boxes],
        "source_box_labels": [labels],
        "source_box_difficult": [flags],
    }


def as_explanation(maps: Tensor, size: tuple[int, int], classes: Tensor, blur: float = 0.0) -> Explanation:
    """Maps at the image's own size, one an explained class.

    Args:
        maps: (K, h, w), at the network's input.
        size: (H, W) of the image.
        classes: (K,).
        blur: σ of a Gaussian, as a share of the sides.
    """
    heatmaps = F.interpolate(smoothed(maps, blur)[:, None], size, mode="bilinear", align_corners=False)
    count = len(classes)
    nothing = torch.zeros(count, len(CLASSES))  # the game does not ask what was predicted
    return Explanation(heatmaps, torch.ones(count, 1), [["map"]] * count, classes, classes, nothing)


def play_all(
    name: str, entry: Entry, halves: Sequence[Half], samples: Sequence[Sample], args: argparse.Namespace
) -> dict[str, Any]:
    """The figures of a method, or why it was refused."""
    tried = spread([number for number, sample in enumerate(samples) if sample.labels], args.count)
    tried = spread(tried, args.slow_images) if entry.slow else tried
    game, preprocessing = Game(entry, args.blur), Preprocessing(args.size, None)
    try:
        layer = target_layer(halves[0].network, read_image(samples[0], preprocessing)[0].to(args.device))
        methods = [(entry.build(half.network, layer, args.seed), set(half.tested)) for half in halves]
        for number in track(tried, name, console=Console(stderr=True)):
            (method,) = (method for method, tested in methods if number in tested)
            game.play(method, samples[number], preprocessing, args.device)
    except ValueError as error:
        return {"refused": str(error)}
    return game.figures()


def report(network: str, figures: dict[str, Any], args: argparse.Namespace) -> None:
    """Prints what a network's games came to, and the settings they were played with."""
    title = (
        f"Pointing game on VOC 2007 {args.split}, {network}; mean average precision of the head"
        f" {100 * figures['mean_average_precision']:.1f} %; blur {args.blur}"
    )
    methods = figures["methods"]
    columns = ["method", "all %", "difficult %", "all %, no blur", "pairs", "s an image"]
    show(title, columns, [[name, *shares(found)] for name, found in methods.items()])
    played = {name: found for name, found in methods.items() if "refused" not in found}
    show("Pairs", ["method", *COUNTS], [[name, *(str(found[of]) for of in COUNTS)] for name, found in played.items()])
    show_notes(methods)


def shares(found: dict[str, Any]) -> list[str]:
    """The row of a method."""
    if "refused" in found:
        return ["refused", "", "", "0", ""]
    known = found["all"], found["difficult"], found.get("without_blur", {}).get("all")
    percent = ["–" if share is None else f"{100 * share:.1f}" for share in known]
    return [*percent, str(found["pairs"]), f"{found['seconds_per_image']:.3f}"]


def parse_args() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.pointing_voc", description=__doc__.splitlines()[0])
    parser.add_argument("--root", type=Path, required=True, help="folder VOCdevkit, or a year's folder in it")
    parser.add_argument("--split", choices=VOC_SPLITS, default="test", help="list of images (%(default)s)")
    add_networks(parser, "squeezenet1_0", "mobilenet_v2")
    add_method_options(parser, CLASS_METHODS)
    add_predictors(parser)
    parser.add_argument("--count", type=int, default=0, help="images that are played on, 0 for all (%(default)s)")
    parser.add_argument(
        "--slow-images", type=int, default=40, help="of these for slow methods, 0 for all (%(default)s)"
    )
    parser.add_argument("--l2", type=float, default=0.1, help="weight decay of the head (%(default)s)")
    add_common_options(parser, "runs/benchmarks/pointing_voc.json")
    return parser.parse_args()


def main() -> None:
    """Plays all games."""
    args = parse_args()
    samples = list_voc(args.root, args.split).samples
    labels = multi_hot(samples, len(CLASSES))
    networks: dict[str, Any] = {}
    for network in args.networks:
        features = features_of(network.build(args.device))
        pooled = pooled_features(features, samples, Preprocessing(args.size, None), args.device, network.name)
        halves = fit_halves(features, pooled, labels, args.l2, args.seed)
        precision = sum(half.precision for half in halves) / len(halves)
        figures: dict[str, Any] = {"mean_average_precision": precision, "methods": {}}
        networks[network.name] = figures
        rows = {name: METHODS[name] for name in args.methods} | amortised_rows(network.name, args.predictors)
        for name, entry in rows.items():
            figures["methods"][name] = play_all(name, entry, halves, samples, args)
            write_figures(args.out, args, {"networks": networks})
        report(network.name, figures, args)


if __name__ == "__main__":
    main()
