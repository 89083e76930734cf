"""One split of a sharded data set: its index, its undecoded samples, and how one is decoded."""

import json
import tarfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from io import BytesIO
from itertools import accumulate
from pathlib import Path
from typing import Any

import numpy as np
import torch
import webdataset as wds
from numpy.typing import NDArray
from PIL import Image
from torchvision import tv_tensors
from torchvision.transforms.v2 import functional as F

from datamodules.images import SampleError
from vitrine.core.batch import Batch
from vitrine.data.shards.schema import BOX_ENTRIES, IMAGE_EXTENSIONS, ShardIndex, read_index

RawSample = dict[str, Any]


@dataclass(frozen=True)
class Split:
    """A split folder and its index. A sample's row is its place in the order of the shards and of the samples in each."""

    folder: Path
    index: ShardIndex

    @classmethod
    def read(cls, folder: Path) -> "Split":
        """Reads the index; its errors are those of `read_index`."""
        return cls(folder, read_index(folder))

    @cached_property
    def first_rows(self) -> list[int]:
        """The row of each shard's first sample."""
        return [0, *accumulate(shard.count for shard in self.index.shards)][:-1]

    def raw_samples(self, shard: int) -> Iterator[RawSample]:
        """The undecoded samples of one shard, with their rows under ``row``.

        Raises:
            SampleError: where the tar file is broken, or holds other than what the index says.
        """
        entry, first_row, number = self.index.shards[shard], self.first_rows[shard], 0
        path = self.folder / entry.file
        samples = wds.DataPipeline(wds.SimpleShardList([str(path)]), wds.tarfile_to_samples())
        try:
            for number, sample in enumerate(samples, start=1):
                if number > entry.count:
                    break
                yield {**sample, "row": first_row + number - 1}
        except tarfile.TarError as error:
            raise SampleError(f"{path} is broken ({error.args[0]}); convert the set again.") from error
        if number != entry.count:
            verify = f"python -m vitrine.shards verify {self.folder}"
            raise SampleError(f"{path} does not hold the {entry.count} samples that its index lists; run {verify}.")

    def decode(self, raw: RawSample) -> dict[str, Any]:
        """A sample as tv_tensors, so that geometry takes its annotation along.

        Raises:
            SampleError: for a broken image, naming it.
        """
        record = record_of(raw)
        name = f"{raw['__key__']} in {self.folder}"
        extension = next((ext for ext in IMAGE_EXTENSIONS if ext in raw), None)
        if extension is None:
            raise SampleError(f"{name} has no image; run python -m vitrine.shards verify {self.folder}.")
        image = tv_tensors.Image(F.pil_to_tensor(_open(raw[extension], name).convert("RGB")))
        size = image.shape[-2:]
        sample: dict[str, Any] = {"key": raw["__key__"], "label": self._label(record["label"]), "image": image}
        for annotation in self.index.annotations:
            sample.update(_ANNOTATIONS[annotation](raw, record, size, name))
        return sample

    def _label(self, label: int | list[int]) -> torch.Tensor:
        if not self.index.multi_label:
            return torch.tensor(label)
        hot = torch.zeros(len(self.index.classes))
        hot[label] = 1
        return hot


def record_of(raw: RawSample) -> dict[str, Any]:
    """The annotation of an undecoded sample, as the shards hold it."""
    record: dict[str, Any] = json.loads(raw["json"])
    return record


def _open(data: bytes, name: str) -> Image.Image:
    try:
        image = Image.open(BytesIO(data))
        image.load()
    except Exception as error:  # Pillow's decoders raise many kinds
        raise SampleError(f"The image of {name} is broken ({error}); convert the set again.") from error
    return image


def _boxes(raw: RawSample, record: dict[str, Any], size: Any, name: str) -> dict[str, Any]:  # noqa: ARG001
    boxes = torch.tensor(record["boxes"], dtype=torch.float32).reshape(-1, 4)
    types = {"box_labels": torch.int64, "box_difficult": torch.bool}
    of_each_box = {entry: torch.tensor(record[entry], dtype=types[entry]) for entry in BOX_ENTRIES if entry in record}
    return {"boxes": tv_tensors.BoundingBoxes(boxes, format="XYXY", canvas_size=tuple(size)), **of_each_box}


def _parts(raw: RawSample, record: dict[str, Any], size: Any, name: str) -> dict[str, Any]:  # noqa: ARG001
    parts = torch.tensor(record["parts"], dtype=torch.float32).reshape(-1, 3)
    return {"points": tv_tensors.KeyPoints(parts[:, :2], canvas_size=tuple(size)), "visible": parts[:, 2]}


def _mask(raw: RawSample, record: dict[str, Any], size: Any, name: str) -> dict[str, Any]:  # noqa: ARG001
    mask = F.pil_to_tensor(_open(raw["mask.png"], f"the mask of {name}"))[:1]
    return {"mask": tv_tensors.Mask((mask != 0).to(torch.uint8))}


def _objects(raw: RawSample, record: dict[str, Any], size: Any, name: str) -> dict[str, Any]:  # noqa: ARG001
    objects = F.pil_to_tensor(_open(raw["objects.png"], f"the objects of {name}"))[:1]
    return {"objects": tv_tensors.Mask(objects.to(torch.int64))}


_ANNOTATIONS: dict[str, Callable[[RawSample, dict[str, Any], Any, str], dict[str, Any]]] = {
    "boxes": _boxes,
    "parts": _parts,
    "mask": _mask,
    "objects": _objects,
}


def collate(samples: list[dict[str, Any]]) -> Batch:
    """Stacks prepared samples; keys, boxes and what is said of each box stay lists."""
    listed = {"key", "boxes", *BOX_ENTRIES}
    batch: Any = {
        name: [sample[name] for sample in samples]
        if name in listed
        else torch.stack([torch.as_tensor(sample[name]) for sample in samples])
        for name in samples[0]
    }
    return batch  # type: ignore[no-any-return]


def all_rows(split: Split) -> NDArray[np.bool_]:
    """(rows,) true for each row of a split."""
    return np.ones(split.index.count, dtype=bool)


def held_out_rows(split: Split, fraction: float) -> NDArray[np.bool_]:
    """(rows,) true for the rows held out for validation: that share of them, spread evenly."""
    held_out: NDArray[np.bool_] = np.diff(np.floor(np.arange(split.index.count + 1) * fraction)) > 0
    return held_out


def first_of_each_class(split: Split, count: int) -> list[RawSample]:
    """The first sample of each class in turn, then the second, until there are ``count`` or all; undecoded."""
    quotas = _quotas(split.index.class_counts, count)
    found: list[list[RawSample]] = [[] for _ in quotas]
    spare: list[RawSample] = []  # with several labels a sample may stand in for one whose class another took
    for shard in range(len(split.index.shards)):
        for raw in split.raw_samples(shard):
            label = record_of(raw)["label"]
            labels = [label] if isinstance(label, int) else label
            roomy = [index for index in labels if len(found[index]) < quotas[index]]
            if roomy:
                found[min(roomy, key=lambda index: len(found[index]))].append(raw)
            elif len(spare) < count:
                spare.append(raw)
        if sum(map(len, found)) == sum(quotas) >= count:
            break
    turns = range(max(quotas, default=0))
    return [*(samples[turn] for turn in turns for samples in found if turn < len(samples)), *spare][:count]


def _quotas(class_counts: list[int], count: int) -> list[int]:
    """How many samples of each class, where classes give one in turn as long as they have any."""
    turns = sorted((turn, index) for index, have in enumerate(class_counts) for turn in range(min(have, count)))[:count]
    quotas = [0] * len(class_counts)
    for _, index in turns:
        quotas[index] += 1
    return quotas
