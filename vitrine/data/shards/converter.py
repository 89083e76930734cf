"""Converters: what the converter of a data set declares, and the functions that all converters share."""

from argparse import ArgumentParser, ArgumentTypeError, Namespace
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from vitrine.core.options import OptionError, check_value
from vitrine.data.shards.sample import Sample
from vitrine.data.shards.schema import Annotation, ShardIndex
from vitrine.data.shards.writer import write_shards


@dataclass(frozen=True)
class SampleSet:
    """A split of a data set, as listed by its converter."""

    dataset: str
    split: str
    classes: Sequence[str]
    samples: Sequence[Sample]
    annotations: Sequence[Annotation] = field(default=())
    multi_label: bool = False
    part_names: Sequence[str] | None = None
    object_names: Sequence[str] | None = None
    """Entry i is the name of object id i + 1."""
    notes: Sequence[str] = ()
    """Sentences for the user, such as how many images were left out."""


@dataclass(frozen=True)
class Converter:
    """Sub-command of a data set: ``add_arguments`` declares its options, ``list_samples`` lists a split by them."""

    name: str
    help: str
    add_arguments: Callable[[ArgumentParser], None]
    list_samples: Callable[[Namespace], SampleSet]


def write_set(
    samples: SampleSet, out: Path, *, shard_size: int, workers: int | None, seed: int, reuse: bool = False
) -> ShardIndex:
    """Writes a listed split; the other arguments are those of `write_shards`."""
    return write_shards(
        samples.samples,
        out,
        dataset=samples.dataset,
        split=samples.split,
        classes=samples.classes,
        annotations=samples.annotations,
        multi_label=samples.multi_label,
        part_names=samples.part_names,
        object_names=samples.object_names,
        notes=samples.notes,
        shard_size=shard_size,
        workers=workers,
        seed=seed,
        reuse=reuse,
    )


def require_folder(path: Path) -> Path:
    """Returns the path.

    Raises:
        FileNotFoundError: where it is not a folder.
    """
    if not path.is_dir():
        raise FileNotFoundError(f"{path} is no folder: give the folder that holds the data set.")
    return path


def number_type(annotation: Any) -> Callable[[str], int]:
    """A type for argparse options: whole numbers that an annotation such as `vitrine.core.options.Count` allows.

    Example:
        >>> from vitrine.core.options import Count
        >>> number_type(Count)("12")
        12
    """

    def parse(text: str) -> int:
        try:
            value = int(text)
            check_value("", value, annotation)
        except OptionError as error:
            raise ArgumentTypeError(f"is {text}; give {error.wanted}") from None
        except ValueError:
            raise ArgumentTypeError(f"is {text!r}; give a whole number") from None
        return value

    return parse
