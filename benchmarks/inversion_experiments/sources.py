"""Where images come from, and those of them that a network recognises."""

import argparse
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import NamedTuple, TypeVar

import torch
from torch import Tensor, nn

from benchmarks.common import NamedWeights, add_networks
from benchmarks.localization.__main__ import sets_of
from benchmarks.localization.images import LocalizationSet, batches, read_wnids
from datamodules.images import ImageFolder
from vitrine.data.preprocessing import Preprocessing
from vitrine.data.shards.sample import Sample

LEAST = 0.5
"""Probability from which on an image without a label counts as recognised."""

_WNID = re.compile(r"n\d{8}(?!\d)")
_Thing = TypeVar("_Thing")


class Scene(NamedTuple):
    """An image, what is in it, and where."""

    image: Tensor
    """(3, S, S)."""
    label: int | None
    """None where it is not known."""
    boxes: Tensor
    """(k, 4) float64, half open, of the object; k = 0 where they are not known."""
    name: str


Scenes = Callable[[int], Iterator[Scene]]
"""Takes a seed to the images in an order of that seed, read one after the other."""


@dataclass(frozen=True)
class Source:
    """A set of images, and the networks that know its classes."""

    name: str
    networks: Sequence[NamedWeights]
    scenes: Scenes
    preprocessing: Preprocessing


def add_sources(parser: argparse.ArgumentParser) -> None:
    """--images, --wnids, --networks and --size; --tiny-imagenet, --cub and --cub-networks."""
    parser.add_argument("--images", type=Path, metavar="FOLDER", help="images that ImageNet-1k networks see")
    parser.add_argument(
        "--wnids",
        type=Path,
        metavar="PATH",
        help="classes of the networks: a folder with names that begin with wnids, or a list of wnids; files of --images, or"
        " their folders, then have to begin so. Without it, what a network sees in an image with a probability of"
        f" {LEAST} or more counts as its class",
    )
    add_networks(parser, "squeezenet1_0", "mobilenet_v2")
    add_boxed_sets(parser)
    parser.add_argument("--size", type=int, default=224, help="side of the input (%(default)s)")


def add_boxed_sets(parser: argparse.ArgumentParser) -> None:
    """--tiny-imagenet, --cub and --cub-networks, sets whose images have a label and boxes."""
    parser.add_argument("--tiny-imagenet", type=Path, metavar="FOLDER", help="Tiny-ImageNet, with --wnids")
    parser.add_argument("--cub", type=Path, metavar="FOLDER", help="CUB_200_2011")
    parser.add_argument(
        "--cub-networks",
        type=NamedWeights.parse,
        nargs="+",
        default=[],
        metavar="NAME=WEIGHTS",
        help="networks for --cub and files of their weights",
    )


def check_sources(parser: argparse.ArgumentParser, args: argparse.Namespace) -> None:
    """Ends the program where the options do not fit together."""
    if not (getattr(args, "images", None) or args.tiny_imagenet or args.cub):
        parser.error("there is nothing to measure on: give --images FOLDER, --tiny-imagenet FOLDER or --cub FOLDER.")
    if args.tiny_imagenet and not args.wnids:
        parser.error("--tiny-imagenet needs --wnids PATH, to find the networks' classes.")
    if args.cub and not args.cub_networks:
        parser.error("--cub needs --cub-networks NAME=WEIGHTS …, networks that tell its species apart.")


def sources_of(args: argparse.Namespace) -> list[Source]:
    """What the options name."""
    found = []
    if args.images:
        preprocessing = Preprocessing(args.size, round(args.size * 256 / 224))
        found.append(Source("images", args.networks, _of_folder(args.images, args.wnids, preprocessing), preprocessing))
    squashed = Preprocessing(args.size, None)
    for images, networks in sets_of(args):
        found.append(Source(images.name, networks, _of_set(images, squashed), squashed))
    return found


def _of_folder(folder: Path, wnids: Path | None, preprocessing: Preprocessing) -> Scenes:
    images = ImageFolder(folder, preprocessing)
    places = {wnid: place for place, wnid in enumerate(read_wnids(wnids))} if wnids else None
    labels = [None if places is None else _label_of(path, folder, places) for path in images.paths]

    def scenes(seed: int) -> Iterator[Scene]:
        for number in _shuffled(range(len(images)), seed):
            entry = images[number]
            yield Scene(entry["image"], labels[number], torch.zeros(0, 4, dtype=torch.float64), entry["key"])

    return scenes


def _label_of(path: Path, folder: Path, places: dict[str, int]) -> int:
    for part in reversed(path.relative_to(folder).parts):
        if (found := _WNID.match(part)) and found.group() in places:
            return places[found.group()]
    raise ValueError(f"{path} has no name, and is in no folder, that begins with one of --wnids; leave out --wnids.")


def _of_set(images: LocalizationSet, preprocessing: Preprocessing) -> Scenes:
    def scenes(seed: int) -> Iterator[Scene]:
        for sample in _shuffled(images.measured, seed):
            yield scene_of(sample, preprocessing)

    return scenes


def scene_of(sample: Sample, preprocessing: Preprocessing) -> Scene:
    """A sample with a label and boxes."""
    (read,) = batches([sample], preprocessing, 1)
    return Scene(read.images[0], int(read.labels[0]), read.boxes[0], sample.key)


def _shuffled(things: Sequence[_Thing], seed: int) -> list[_Thing]:
    order = torch.randperm(len(things), generator=torch.Generator().manual_seed(seed)).tolist()
    return [things[place] for place in order]


def recognised(scenes: Iterator[Scene], model: nn.Module, device: str, at_once: int = 16) -> Iterator[Scene]:
    """Those whose label the network predicts; of those without a label, what it is sure of, which becomes their label."""
    while part := list(islice(scenes, at_once)):
        chances = probabilities(model, torch.stack([scene.image for scene in part]).to(device))
        for scene, (chance, prediction) in zip(
            part, zip(*(t.tolist() for t in chances.max(dim=1)), strict=True), strict=True
        ):
            if scene.label == prediction or (scene.label is None and chance >= LEAST):
                yield scene._replace(label=prediction)


def probabilities(model: nn.Module, images: Tensor) -> Tensor:
    """(B, C) softmax of the logits, in main memory."""
    with torch.no_grad():
        found: Tensor = model(images).float().softmax(dim=1).cpu()
    return found


class Picked(NamedTuple):
    """Scenes as tensors."""

    images: Tensor
    """(B, 3, S, S)."""
    labels: Tensor
    """(B,)."""
    boxes: list[Tensor]
    names: list[str]

    @classmethod
    def of(cls, scenes: Sequence[Scene]) -> "Picked":
        """Of scenes whose labels are known.

        Raises:
            ValueError: where there is none.
        """
        if not scenes:
            raise ValueError(
                "The network recognises none of the images; give other images, or the weights of the network."
            )
        labels = torch.tensor([scene.label for scene in scenes])
        images = torch.stack([scene.image for scene in scenes])
        return cls(images, labels, [scene.boxes for scene in scenes], [scene.name for scene in scenes])
