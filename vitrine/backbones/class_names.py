"""Class names that a network knows: of ImageNet's weights, Hugging Face's folders, text embeddings, own classifiers."""

import functools
from collections import Counter
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

import torchvision

from vitrine.backbones.class_embeddings import EMBEDDINGS
from vitrine.backbones.hugging_face import saved_classes
from vitrine.backbones.networks import BackboneOptions
from vitrine.backbones.weight_files import recorded_classes

ClassAliases = tuple[str, ...]
"""The names of one class, the one to show first."""


def network_classes(options: BackboneOptions, count: int) -> list[ClassAliases] | None:
    """The names of a network's logits, by index; None where they are not known.

    Nothing is downloaded. Random weights know no names, nor do files that do not record any.

    Args:
        options: the network and its weights.
        count: number of its logits.

    Example:
        >>> network_classes(BackboneOptions("resnet18", "DEFAULT"), 1000)[0][0]
        'tench'
    """
    if options.is_zero_shot:
        return _named_classes(_of_embeddings(options), count)
    if options.folder is not None and options.weights is None:
        return _named_classes(saved_classes(options.folder), count)
    if options.weights is None:
        return None
    if options.weight_file is not None:
        return _recorded(options.weight_file, count)
    if options.name.startswith("timm:"):
        return _timm_classes(count)
    return None if ":" in options.name else _torchvision_classes(options.name, options.weights, count)


def assumed_classes(options: BackboneOptions, count: int) -> list[ClassAliases] | None:
    """Names that a network most likely has where none are recorded: ImageNet-1k's, of its libraries' networks of that size.

    Args:
        options: the network of torchvision or timm, with weights of a file.
        count: number of its logits.

    Example:
        >>> assumed_classes(BackboneOptions("resnet18", "mine.pth"), 1000)[146][0]
        'albatross'
    """
    if options.weight_file is None or options.is_own or options.folder is not None or options.is_zero_shot:
        return None
    return _torchvision_classes("resnet18", "IMAGENET1K_V1", count)


def _recorded(path: Path, count: int) -> list[ClassAliases] | None:
    return _named_classes(recorded_classes(path), count)


def _of_embeddings(options: BackboneOptions) -> Sequence[str]:
    """Of the file of text embeddings, or of a file of the whole classifier where that one is gone."""
    path = Path(options.arguments[EMBEDDINGS])
    return recorded_classes(path) or recorded_classes(options.weight_file)


def _named_classes(names: Sequence[str], count: int) -> list[ClassAliases] | None:
    return [(name,) for name in names] if len(names) == count else None


def _torchvision_classes(name: str, entry: str, count: int) -> list[ClassAliases] | None:
    names: Sequence[str] = torchvision.models.get_model_weights(name)[entry].meta.get("categories") or ()
    if len(names) != count:
        return None
    ids = imagenet_aliases() if names[0] == "tench" else None
    return [(name, *(ids[index] if ids else ())) for index, name in enumerate(names)]


def _timm_classes(count: int) -> list[ClassAliases] | None:
    """Those of ImageNet-1k, which is what timm's networks of 1,000 logits are trained on."""
    table = imagenet_aliases()
    return list(table) if table is not None and len(table) == count else None


@functools.cache
def imagenet_aliases() -> tuple[ClassAliases, ...] | None:
    """Words and WordNet id of each class of ImageNet-1k, as timm's table has them; None where timm is not installed."""
    if find_spec("timm") is None:
        return None
    from timm.data import ImageNetInfo  # noqa: PLC0415 - an optional extra

    info = ImageNetInfo("imagenet-1k")
    wnids = list(info.label_names())
    words = [[word.strip() for word in text.split(",")] for text in info.label_descriptions()]
    shared = Counter(names[0] for names in words)
    return tuple(
        (f"{names[0]} ({wnid})" if shared[names[0]] > 1 else names[0], *names, wnid)
        for names, wnid in zip(words, wnids, strict=True)
    )
