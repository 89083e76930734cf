"""What a converter is: it lists the samples of a data set, and the writer does the rest."""

from argparse import ArgumentParser, Namespace
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from vitrine.data.shards.sample import Sample
from vitrine.data.shards.schema import ShardIndex
from vitrine.data.shards.writer import write_shards


@dataclass(frozen=True)
class SampleSet:
    """A split of a data set as its converter lists it."""

    dataset: str
    split: str
    classes: Sequence[str]
    samples: Sequence[Sample]
    annotations: Sequence[str] = field(default=())
    multi_label: bool = False
    part_names: Sequence[str] | None = None
    object_names: Sequence[str] | None = None
    """Position i names object id i + 1."""
    notes: Sequence[str] = ()
    """What whoever converts should know, a sentence each: such as how many images were left out."""


@dataclass(frozen=True)
class Converter:
    """A data set's sub-command: ``add_arguments`` declares its options, ``list_samples`` reads them."""

    name: str
    help: str
    add_arguments: Callable[[ArgumentParser], None]
    list_samples: Callable[[Namespace], SampleSet]


def write_set(listed: SampleSet, out: Path, *, shard_size: int, workers: int | None, seed: int) -> ShardIndex:
    """Writes a listed split; see ``write_shards``."""
    return write_shards(
        listed.samples,
        out,
        dataset=listed.dataset,
        split=listed.split,
        classes=listed.classes,
        annotations=listed.annotations,
        multi_label=listed.multi_label,
        part_names=listed.part_names,
        object_names=listed.object_names,
        shard_size=shard_size,
        workers=workers,
        seed=seed,
    )


def require_folder(path: Path) -> Path:
    """Gives the path back.

    Raises:
        FileNotFoundError: It is no folder.
    """
    if not path.is_dir():
        raise FileNotFoundError(f"{path} is no folder: give the folder that holds the data set.")
    return path
