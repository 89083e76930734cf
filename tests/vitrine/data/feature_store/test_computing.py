"""Rows of a chunk: those asked for, in a type that holds them."""

from typing import Any

import pytest
import torch

from tests.helpers.store_fakes import CPU, Sums, batch_of
from vitrine.core.batch import Features
from vitrine.data.feature_store.computing import ChunkRows, on_device
from vitrine.data.feature_store.manifest import FeatureType, Manifest


def chunk_of(dtype: FeatureType = "float32") -> ChunkRows:
    return ChunkRows(Manifest({}, 11, 4, 4, 2, [], dtype, {"split": "data/train"}), 1)


def computed(*rows: list[int], chunk: ChunkRows | None = None, extractor: Any = None) -> ChunkRows:
    chunk = chunk or chunk_of()
    chunk.compute(map(batch_of, rows), extractor or Sums(), CPU, lambda _: None)
    return chunk


def test_batches_follow_one_another() -> None:
    rows = computed([4, 5, 6], [7], [8])
    assert rows.keys == ["sample 4", "sample 5", "sample 6", "sample 7"]
    assert rows.tensors["features"][:, 0].tolist() == [4, 5, 6, 7]


@pytest.mark.parametrize(
    ("rows", "missing", "told"), [(([4, 6],), 4, "4 came"), (([4], [6]), 5, "6 came"), (([4, 5],), 6, "none came")]
)
def test_missing_samples_are_told_with_the_split(rows: Any, missing: int, told: str) -> None:
    with pytest.raises(ValueError, match=rf"Sample {missing} of data/train .*{told}.*shards verify data/train"):
        computed(*rows)


def test_batches_across_chunks_are_refused() -> None:
    with pytest.raises(ValueError, match="Sample 4"):
        computed([4, 5, 6, 7, 8])


class Large(Sums):
    def __call__(self, images: torch.Tensor) -> Features:
        return Features(features=torch.full((len(images), 4), 7e4), logits=torch.zeros(len(images), 2))


def test_features_that_are_too_large_for_their_type() -> None:
    with pytest.raises(ValueError, match=r"7e\+04, which float16 .*features\.dtype"):
        computed([4, 5, 6, 7], chunk=chunk_of("float16"), extractor=Large())
    rows = computed([4, 5, 6, 7], chunk=chunk_of("bfloat16"), extractor=Large())
    assert rows.tensors["features"].isfinite().all()


class Broken(Sums):
    """One number of the third image is not finite."""

    def __init__(self, name: str, value: float) -> None:
        super().__init__()
        self.name, self.value = name, value

    def __call__(self, images: torch.Tensor) -> Features:
        found: Any = super().__call__(images)
        found[self.name][2, 1] = self.value
        return Features(features=found["features"], logits=found["logits"])


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
@pytest.mark.parametrize("name", ["features", "logits"])
def test_what_is_not_finite_is_told_with_its_sample(name: str, value: float) -> None:
    with pytest.raises(ValueError, match=f"The {name} of the sample sample 6 are not finite"):
        computed([4, 5, 6, 7], extractor=Broken(name, value))


class Recorded(Sums):
    """Notes what happens in which order."""

    def __init__(self) -> None:
        super().__init__()
        self.events: list[str] = []

    def __call__(self, images: torch.Tensor) -> Features:
        self.events.append(f"begun {int(images[0, 0, 0, 0])}")
        return super().__call__(images)


def test_a_batch_is_stored_once_the_next_one_has_begun() -> None:
    """So that a device is at work while the host waits for what it gave before."""
    chunk, extractor = chunk_of(), Recorded()
    chunk.compute(map(batch_of, [[4], [5], [6, 7]]), extractor, CPU, lambda count: extractor.events.append(f"+{count}"))
    assert extractor.events == ["begun 4", "begun 5", "+1", "begun 6", "+1", "+2"]


def test_large_numbers_whose_sum_is_infinite_are_finite() -> None:
    largest = torch.finfo(torch.float32).max

    class Largest(Sums):
        def __call__(self, images: torch.Tensor) -> Features:
            return Features(features=torch.full((len(images), 4), largest), logits=torch.zeros(len(images), 2))

    assert (computed([4, 5, 6, 7], extractor=Largest()).tensors["features"] == largest).all()


class OnGPU:
    """Stands for images: notes how they are copied."""

    def __init__(self, device: str = "cpu", *, pinned: bool = False) -> None:
        self.is_cuda, self.pinned = device == "cuda", pinned

    def pin_memory(self) -> "OnGPU":
        return OnGPU(pinned=True)

    def to(self, device: torch.device, non_blocking: bool = False) -> tuple[str, bool, bool]:
        return device.type, self.pinned, non_blocking


def test_images_go_to_a_gpu_from_pinned_memory_without_blocking() -> None:
    gpu: Any = OnGPU()
    assert on_device(gpu, torch.device("cuda")) == ("cuda", True, True)
    assert on_device(gpu, torch.device("mps")) == ("mps", False, False)
    images = torch.rand(1, 3, 2, 2)
    assert on_device(images, CPU) is images
