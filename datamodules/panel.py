"""Panels of images: a few images of every class, always the same ones, to be drawn while a trainer runs."""

from pathlib import Path

from datamodules.images import ImageFolder
from datamodules.samples import RawSample, collate
from datamodules.shard_images import ShardImages
from datamodules.split import Split
from vitrine.core.batch import Batch
from vitrine.data.preprocessing import Preprocessing


def panel_of_split(split: Split, preprocessing: Preprocessing, count: int) -> Batch:
    """The first ``count`` samples of a split's classes in turn, or all of them where there are fewer."""
    images = ShardImages(split, preprocessing)
    return collate([images.prepared(raw) for raw in first_of_each_class(split, count)])


def panel_of_folder(folder: Path, preprocessing: Preprocessing, count: int) -> Batch:
    """The first ``count`` images below a folder, or all of them where there are fewer."""
    images = ImageFolder(folder, preprocessing)
    return collate([images[number] for number in range(min(count, len(images)))])


def first_of_each_class(split: Split, count: int) -> list[RawSample]:
    """The first sample of each class in turn, then the second, until there are ``count`` or all; undecoded."""
    quotas = _quotas(split.index.class_counts, count)
    samples_of_class: list[list[RawSample]] = [[] for _ in quotas]
    spare: list[RawSample] = []  # with several labels a sample may stand in for one whose class another took
    for shard in range(len(split.index.shards)):
        for raw in split.raw_samples(shard):
            label = split.record(raw)["label"]
            labels = [label] if isinstance(label, int) else label
            open_classes = [index for index in labels if len(samples_of_class[index]) < quotas[index]]
            if open_classes:
                fewest = min(open_classes, key=lambda index: len(samples_of_class[index]))
                samples_of_class[fewest].append(raw)
            elif len(spare) < count:
                spare.append(raw)
        if sum(map(len, samples_of_class)) == sum(quotas) >= count:
            break
    turns = range(max(quotas, default=0))
    in_turn = [samples[turn] for turn in turns for samples in samples_of_class if turn < len(samples)]
    return [*in_turn, *spare][:count]


def _quotas(class_counts: list[int], count: int) -> list[int]:
    """How many samples of each class, where classes give one in turn as long as they have any."""
    turns = [(turn, index) for index, size in enumerate(class_counts) for turn in range(min(size, count))]
    quotas = [0] * len(class_counts)
    for _, index in sorted(turns)[:count]:
        quotas[index] += 1
    return quotas
