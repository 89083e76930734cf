"""Images of shards by row, in any order, in this process or in spawned ones."""

import pickle

import pytest
import torch
from torch.utils.data import DataLoader

from datamodules.damaged import Damaged, gather
from datamodules.shard_images import ShardImages
from datamodules.split import Split
from tests.helpers.shard_fakes import TINY
from vitrine.data.preprocessing import Preprocessing


def test_rows_come_in_the_order_in_which_they_are_asked_for(split: Split) -> None:
    images = ShardImages(split, TINY)
    assert len(images) == 43
    batch = images.batch([40, 3, 20, 3])
    assert batch["row"].tolist() == [40, 3, 20, 3]
    keys = [raw["__key__"] for shard in range(3) for raw in split.raw_samples(shard)]
    assert batch["key"] == [keys[row] for row in (40, 3, 20, 3)]
    assert [sample["row"] for sample in images.__getitems__([5, 1, 30])] == [5, 1, 30]  # type: ignore[index]


def test_augmentation_depends_on_seed_and_row_alone(split: Split) -> None:
    def image(seed: int, row: int) -> torch.Tensor:
        return ShardImages(split, TINY, seed)[row]["image"]

    before = torch.random.get_rng_state()
    assert torch.equal(image(1, 4), image(1, 4))
    assert torch.equal(torch.random.get_rng_state(), before)


def test_an_empty_batch_has_the_entries_of_the_others(split: Split) -> None:
    images = ShardImages(split, TINY)
    full, empty = images.batch([0, 1]), images.empty_batch()
    assert full.keys() == empty.keys()
    assert empty["key"] == []
    for name in ("image", "label", "row"):
        assert empty[name].shape == (0, *full[name].shape[1:])
        assert empty[name].dtype == full[name].dtype


@pytest.mark.parametrize("context", ["spawn", "forkserver"])
def test_workers_that_are_not_forked_read_them_too(split: Split, context: str) -> None:
    images = ShardImages(split, TINY, 3)
    images.batch([0])  # with an open file, which cannot be sent
    loader = DataLoader(
        images, batch_sampler=[[7, 2], [40]], num_workers=1, multiprocessing_context=context, collate_fn=gather
    )
    assert [loaded.batch["row"].tolist() for loaded in loader] == [[7, 2], [40]]


def test_a_copy_by_pickle_reads_the_same(split: Split) -> None:
    images = ShardImages(split, TINY)
    rows = [3, 42]
    copied = pickle.loads(pickle.dumps(images))
    assert torch.equal(copied.batch(rows)["image"], images.batch(rows)["image"])


def test_images_have_the_channels_of_the_preprocessing(split: Split) -> None:
    grey = Preprocessing(8, 8, (0.0,), (1.0,), "L")
    opaque = Preprocessing(8, 8, (0.0,) * 4, (1.0,) * 4, "RGBA")
    colours = ShardImages(split, Preprocessing(8, 8, (0.0,) * 3, (1.0,) * 3)).batch([0, 5])["image"]
    luma = (colours * torch.tensor([0.299, 0.587, 0.114])[:, None, None]).sum(1, keepdim=True)
    torch.testing.assert_close(ShardImages(split, grey).batch([0, 5])["image"], luma, atol=0.004, rtol=0)
    four = ShardImages(split, opaque).batch([0, 5])["image"]
    assert torch.equal(four, torch.cat([colours, torch.ones(2, 1, 8, 8)], dim=1))
    assert ShardImages(split, grey, 3)[1]["image"].shape == (1, 8, 8)


@pytest.mark.parametrize("seed", [None, 3])
def test_a_batch_normalised_at_once_equals_its_samples(split: Split, seed: int | None) -> None:
    images, rows = ShardImages(split, TINY, seed), [7, 2, 40]
    placed = images.__getitems__(rows)
    assert all(not isinstance(sample, Damaged) and sample["image"].dtype == torch.uint8 for sample in placed)
    batch = gather(placed).batch
    assert batch is not None
    for found in (images.finished(batch), images.batch(rows)):
        assert torch.equal(found["image"], torch.stack([images[row]["image"] for row in rows]))
        assert found["image"].is_contiguous()
        assert found["row"].tolist() == rows
