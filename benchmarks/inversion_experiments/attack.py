"""Adversarial attacks (section 4.1.3, Fig. 4): is the true class still found where it was?

Each image is attacked by the fast gradient sign method with the smallest ε of --epsilons that changes the prediction, to a
class with a probability of --chance or more; those that withstand it are counted and left out. With one ε, all images that
count are attacked by the same strength.

Maps of the TRUE class of the attacked image are compared with those of the clean one: Pearson's r over pixels, and IoU
of where they are above their means. For scale stand beside them r under random ``signs`` of the same ε, r of the
attacked maps of the true and of the ``wrong`` class, for which the image is taken, and r with the map of ``other``
images (what maps have in common that do not look at the image). Void are degenerate maps, which have no r.

With boxes, or with --pairs, where the box is the object's half of a canvas of two: the share of a map in the boxes, whether
its maximum is there, and the localisation error at the α that is best for the clean maps; before and after the attack.
"""

import argparse
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any

import torch
from torch import Tensor

from benchmarks.common import add_common_options, machine, show, write_figures
from benchmarks.inversion_experiments.discrimination import add_canvas
from benchmarks.inversion_experiments.methods import (
    INVERSIONS,
    Explained,
    add_rows,
    cell,
    each_row,
    maps_of,
    mean,
    show_refused,
)
from benchmarks.inversion_experiments.pictures import laid_over, plain, shown, write_rows
from benchmarks.inversion_experiments.sources import (
    Picked,
    Scene,
    Source,
    add_sources,
    check_sources,
    recognised,
    sources_of,
)
from benchmarks.inversion_experiments.stimuli import Attacked, attack, correlations, half_boxes, overlaps, pairs
from benchmarks.localization.outcomes import Outcomes, error_of, tuned
from benchmarks.method_table import Entry
from vitrine.metrics.functional import box_region, degenerate, energy_inside
from vitrine.metrics.functional.localization import LOCALIZATION_ALPHAS

COLUMNS = ("method", "r", "IoU", "r signs", "r wrong", "r other", "void", "s a map")
BOXED = ("method", "mass in box %", "maximum there %", "error %", "α")


def add_options(parser: argparse.ArgumentParser) -> None:
    """All options."""
    add_sources(parser)
    add_rows(parser, *INVERSIONS, "Saliency", "GradCAM", "GuidedBackprop")
    parser.add_argument("--count", type=int, default=50, help="images (%(default)s)")
    parser.add_argument(
        "--epsilons",
        type=float,
        nargs="+",
        default=[0.25, 0.5, 1, 2, 4, 8, 16],
        metavar="STEP",
        help="strengths in 255ths of the colours' range (0.25 0.5 1 2 4 8 16)",
    )
    parser.add_argument(
        "--chance", type=float, default=0.0, help="of the wrong class, at least, in [0, 1] (%(default)s)"
    )
    parser.add_argument(
        "--pairs", action="store_true", help="attack canvases of two objects; the stronger one is explained"
    )
    add_canvas(parser)
    parser.add_argument("--rows", type=int, default=6, help="images in a picture (%(default)s)")
    add_common_options(parser, "runs/benchmarks/inversion_attack.json")


@dataclass(frozen=True)
class Trio:
    """Maps of the same images, (B, S, S) each, and of the class that they were taken for."""

    clean: Tensor
    attacked: Tensor
    noise: Tensor
    wrong: Tensor
    """Of the attacked image, of the class that it is taken for."""


def figures_of(maps: Trio, boxes: list[Tensor]) -> dict[str, Any]:
    """Of the images that were fooled."""
    found = {
        "correlation": mean(correlations(maps.clean, maps.attacked)),
        "iou": mean(overlaps(maps.clean, maps.attacked)),
        "random_signs": mean(correlations(maps.clean, maps.noise)),
        "wrong_class": mean(correlations(maps.attacked, maps.wrong)),
        "another_image": mean(correlations(maps.clean, maps.attacked.roll(1, 0))[len(maps.clean) == 1 :]),
        "degenerate": int((degenerate(maps.clean) | degenerate(maps.attacked)).sum()),
    }
    return found | {"boxes": _in_boxes(maps, boxes) if all(len(own) for own in boxes) else None}


def _in_boxes(maps: Trio, boxes: list[Tensor]) -> dict[str, Any]:
    clean, attacked = (Outcomes.of_maps(found, boxes, 0.0, []) for found in (maps.clean, maps.attacked))
    place = tuned(clean.ious)
    region = torch.stack([box_region(own, (maps.clean.shape[1], maps.clean.shape[2])) for own in boxes])
    both = {"clean": (maps.clean, clean), "attacked": (maps.attacked, attacked)}
    told = {
        name: {
            "mass": mean(energy_inside(found, region)),
            "maximum": float(outcomes.hits.nan_to_num(0).mean()),
            **error_of(outcomes.ious[:, place]),
        }
        for name, (found, outcomes) in both.items()
    }
    return told | {"alpha": LOCALIZATION_ALPHAS[place], "area": float(region.double().mean())}


def run(parser: argparse.ArgumentParser, args: argparse.Namespace) -> dict[str, Any]:
    """Measures all networks, and returns the figures."""
    check_sources(parser, args)
    figures: dict[str, Any] = {}
    for source in sources_of(args):
        for network in source.networks:
            explained = Explained.build(network, args)
            figures.setdefault(source.name, {})[network.name] = _measure(source, explained, args)
            write_figures(args.out, args, {"sets": figures})
    return figures


def stronger_of_pairs(scenes: Iterator[Scene], explained: Explained, args: argparse.Namespace) -> Iterator[Scene]:
    """Canvases whose prediction is one of their two objects, which is what is explained there; its box is its half."""
    for pair in pairs(scenes, explained.model, args.device, args.canvas, args.top):
        if pair is not None:
            side = int(pair.chances[1] > pair.chances[0])
            box = half_boxes(pair.image.shape[-1])[side]
            yield Scene(pair.image, pair.classes[side], box, " | ".join(pair.names))


def attacked_in_parts(explained: Explained, picked: Picked, source: Source, args: argparse.Namespace) -> Attacked:
    """All images, so many at once."""
    epsilons = [step / 255 for step in args.epsilons]
    batches = zip(torch.split(picked.images, args.batch_size), torch.split(picked.labels, args.batch_size), strict=True)
    parts = [
        attack(
            explained.model,
            images.to(args.device),
            labels.to(args.device),
            epsilons,
            source.preprocessing,
            chance=args.chance,
            seed=args.seed,
        )
        for images, labels in batches
    ]
    return Attacked(*(torch.cat([part.cpu() for part in column]) for column in zip(*parts, strict=True)))


def _measure(source: Source, explained: Explained, args: argparse.Namespace) -> dict[str, Any]:
    scenes = recognised(source.scenes(args.seed), explained.model, args.device)
    if args.pairs:
        scenes = recognised(stronger_of_pairs(scenes, explained, args), explained.model, args.device, 1)
    picked = Picked.of(list(islice(scenes, args.count)))
    found = attacked_in_parts(explained, picked, source, args)
    rows = found.flipped.nonzero().squeeze(1)
    told = {
        "images": len(picked.labels),
        "flipped": float(found.flipped.double().mean()),
        "median_epsilon": float(found.epsilon[rows].median() * 255) if len(rows) else None,
        "mean_chance_of_wrong_class": mean(found.chance[rows]) if len(rows) else None,
    }
    if not len(rows):
        raise ValueError(f"No image of {source.name} is taken for another class at any ε; give larger --epsilons.")
    images, labels = picked.images[rows], picked.labels[rows]
    drawn: dict[str, Trio] = {}

    def measure(name: str, entry: Entry) -> dict[str, Any]:
        drawn[name], seconds = _trio(name, entry, explained, images, labels, found, rows, args)
        return figures_of(drawn[name], [picked.boxes[row] for row in rows.tolist()]) | {"seconds": seconds}

    methods = each_row(args, measure)
    _show(source, explained, told, methods)
    if args.pictures:
        cells = [
            _cells(place, images, labels, found, rows, drawn, source) for place in range(min(args.rows, len(rows)))
        ]
        title = f"{explained.name}: maps of the true class, before and after an attack"
        write_rows(args.pictures, f"attack_{source.name}_{explained.name}", cells, title)
    return told | {"methods": methods}


def _trio(
    name: str,
    entry: Entry,
    explained: Explained,
    images: Tensor,
    labels: Tensor,
    found: Attacked,
    rows: Tensor,
    args: argparse.Namespace,
) -> tuple[Trio, float]:
    clean = maps_of(entry, explained, images, labels[:, None], args, f"{name}, clean")
    both = torch.stack([labels, found.prediction[rows]], dim=1)
    after = maps_of(entry, explained, found.images[rows], both, args, f"{name}, attacked")
    noise = maps_of(entry, explained, found.noise[rows], labels[:, None], args, f"{name}, random signs")
    return Trio(clean.maps[:, 0], after.maps[:, 0], noise.maps[:, 0], after.maps[:, 1]), clean.seconds


def _show(source: Source, explained: Explained, told: dict[str, Any], methods: dict[str, dict[str, Any]]) -> None:
    title = (
        f"FGSM: {source.name}, {explained.name}, {told['images']} images, {cell(told['flipped'])} % of them fooled,"
        f" median ε {told['median_epsilon']:g} / 255 ({machine()})"
    )
    measured = {name: found for name, found in methods.items() if "refused" not in found}
    show(title, COLUMNS, [_row(name, found) for name, found in measured.items()])
    if any(found["boxes"] for found in measured.values()):
        show(
            "Where the true class is found: clean → attacked",
            BOXED,
            [_boxed_row(name, found["boxes"]) for name, found in measured.items()],
        )
    show_refused(methods)


def _row(name: str, found: dict[str, Any]) -> list[str]:
    keys = ("correlation", "iou", "random_signs", "wrong_class", "another_image")
    return [
        name,
        *(cell(found[key], percent=False) for key in keys),
        str(found["degenerate"]),
        cell(found["seconds"], percent=False),
    ]


def _boxed_row(name: str, found: dict[str, Any]) -> list[str]:
    cells = [f"{cell(found['clean'][key])} → {cell(found['attacked'][key])}" for key in ("mass", "maximum", "error")]
    return [name, *cells, str(found["alpha"])]


def _cells(
    place: int, images: Tensor, labels: Tensor, found: Attacked, rows: Tensor, drawn: dict[str, Trio], source: Source
) -> list[tuple[str, Any]]:
    row = int(rows[place])
    clean, after = (shown(image, source.preprocessing) for image in (images[place], found.images[row]))
    chance, epsilon = float(found.chance[row]), float(found.epsilon[row]) * 255
    cells = [
        plain(f"class {int(labels[place])}\n", clean),
        plain(f"seen as {int(found.prediction[row])}, {100 * chance:.0f} %\nepsilon {epsilon:g} / 255", after),
    ]
    for name, maps in drawn.items():
        cells += [
            laid_over(f"{name}\nclean", clean, maps.clean[place]),
            laid_over(f"{name}\nattacked", after, maps.attacked[place]),
        ]
    return cells
