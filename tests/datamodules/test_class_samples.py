"""What each class is fitted on: seeded draws, the same on any number of ranks and after a resume."""

import itertools
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import pytorch_lightning as pl
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pytorch_lightning.callbacks import Checkpoint

from datamodules import ShardDataModule
from datamodules.class_samples import ClassSamples
from datamodules.epoch_order import EpochOrder
from datamodules.feature_batches import ShuffledFeatures
from datamodules.options import SamplingOptions
from datamodules.ranks import RankShare
from tests.helpers import shard_fakes as fakes


def labels_of(kind: str, rows: int, classes: int = 4, seed: int = 0) -> Any:
    generator = np.random.default_rng(seed)
    if kind == "multi-hot":
        return (generator.random((rows, classes)) < 0.3).astype(np.float32)
    return generator.integers(0, classes, rows)


def positives_of(labels: Any, classes: list[int]) -> Any:
    """(rows, J), the plain way."""
    if labels.ndim == 2:
        return labels[:, classes] != 0
    return np.stack([labels == index for index in classes], axis=1)


@settings(max_examples=60)
@given(
    kind=st.sampled_from(["indices", "multi-hot"]),
    rows=st.integers(1, 60),
    classes=st.lists(st.integers(0, 3), min_size=1, max_size=4, unique=True),
    positives=st.none() | st.integers(1, 20),
    negatives=st.none() | st.integers(1, 20),
    seed=st.integers(-3, 3),
    part=st.booleans(),
)
def test_a_draw_is_what_a_dense_matrix_says(
    kind: str, rows: int, classes: list[int], positives: int | None, negatives: int | None, seed: int, *, part: bool
) -> None:
    labels = labels_of(kind, rows)
    candidates = np.arange(0, rows, 2) if part else None
    among = np.arange(rows) if candidates is None else candidates
    samples = ClassSamples(labels, classes, SamplingOptions(positives, negatives), seed, candidates)
    dense = samples.sampled(among)
    positive = positives_of(labels, classes)[among]
    drawn = [dense & positive, dense & ~positive]
    for count, limit, chosen, there in zip(
        samples.counts.T, (positives, negatives), drawn, (positive, ~positive), strict=True
    ):
        available = there.sum(axis=0)
        expected = available if limit is None else np.minimum(available, limit)
        assert count.tolist() == expected.tolist() == chosen.sum(axis=0).tolist()
    assert samples.rows.tolist() == among[dense.any(axis=1)].tolist()
    backwards = samples.sampled(among[::-1])
    assert np.array_equal(backwards[::-1], dense)


def test_a_class_is_drawn_alike_among_other_classes() -> None:
    labels = labels_of("indices", 500)
    limits = SamplingOptions(20, 50)
    alone, among = ClassSamples(labels, [2], limits), ClassSamples(labels, [0, 1, 2, 3], limits)
    rows = np.arange(500)
    assert np.array_equal(alone.sampled(rows)[:, 0], among.sampled(rows)[:, 2])
    assert not np.array_equal(alone.sampled(rows), ClassSamples(labels, [2], limits, seed=1).sampled(rows))


def test_every_row_is_as_likely_to_be_drawn() -> None:
    labels = np.repeat([0, 1], [20, 80])
    rows = np.arange(100)
    limits = SamplingOptions(5, 40)
    often = np.mean([ClassSamples(labels, [0], limits, seed).sampled(rows)[:, 0] for seed in range(400)], axis=0)
    np.testing.assert_allclose(often[:20], 0.25, atol=0.1)  # 4.6 standard deviations
    np.testing.assert_allclose(often[20:], 0.5, atol=0.12)


def test_the_papers_draw_of_a_large_set_takes_little_memory() -> None:
    """Ten scenes of 1.8 million images: 240 000 pairs in place of a matrix of 18 million."""
    labels = np.arange(1_800_000) % 365
    samples = ClassSamples(labels, list(range(10)), SamplingOptions(4000, 20_000))
    assert samples.counts.tolist() == [[4000, 20_000]] * 10
    assert samples._pairs.nbytes == 10 * 24_000 * 8
    assert 40_000 < len(samples.rows) <= 240_000
    assert samples.sampled(samples.rows[:64]).any(axis=1).all()


def counts_of(data: ShardDataModule) -> list[list[int]]:
    """Positives and negatives of each explained class."""
    counts = data.sample_counts()
    assert counts is not None
    return counts.tolist()


def fit(data: Any, classes: list[int] | None = None, **options: Any) -> Any:
    class Sampling(fakes.Recorder):
        def __init__(self) -> None:
            super().__init__(fakes.MeanColour())
            self.batches: list[Any] = []
            self.fits_on_samples = False
            if classes is not None:
                self.explained_classes = classes

        def training_step(self, batch: Any) -> Any:
            self.batches.append(batch)
            return super().training_step(batch)

    module, ckpt = Sampling(), options.pop("ckpt_path", None)
    module.one_pass = module.fits_on_samples = options.pop("one_pass", False)
    pl.Trainer(**{"max_epochs": 2, **fakes.QUIET, **options}).fit(module, datamodule=data, ckpt_path=ckpt)
    return module


def test_batches_say_what_each_explained_class_is_fitted_on(few: Path, tmp_path: Path) -> None:
    data = fakes.module_of(few, folder=tmp_path, positives_per_class=3, negatives_per_class=4)
    module = fit(data, [2, 0])
    first = module.batches[: len(module.batches) // 2]
    sampled, labels = (torch.cat([batch[name] for batch in first]) for name in ("sampled", "label"))
    keys = list(itertools.chain(*fakes.keys_of(first)))
    assert sampled.dtype == torch.bool
    assert len(set(keys)) == len(keys) <= 14
    for place, index in enumerate([2, 0]):
        assert (sampled[:, place] & (labels == index)).sum() == 3
        assert (sampled[:, place] & (labels != index)).sum() == 4
    assert sampled.any(dim=1).all()
    assert counts_of(data) == [[3, 4], [3, 4]]
    held_out = set(itertools.chain(*module.seen["val"]))
    assert len(held_out) == 4
    assert not held_out & set(keys)
    assert "sampled" not in next(iter(data.val_dataloader()))


def test_without_classes_of_its_own_a_module_is_fitted_on_all(few: Path, tmp_path: Path) -> None:
    data = fakes.module_of(few, folder=tmp_path, positives_per_class=2)
    module = fit(data)
    assert module.batches[0]["sampled"].shape[1] == 3
    assert [positives for positives, _ in counts_of(data)] == [2, 2, 2]


def test_without_limits_nothing_is_said(few: Path, tmp_path: Path) -> None:
    data = fakes.module_of(few, folder=tmp_path)
    assert "sampled" not in fit(data, [0]).batches[0]
    assert data.sample_counts() is None


def test_limits_beyond_the_set_change_no_batch(few: Path, tmp_path: Path) -> None:
    plain = fit(fakes.module_of(few, folder=tmp_path))
    limits = {"positives_per_class": 100, "negatives_per_class": 100}
    limited = fit(fakes.module_of(few, folder=tmp_path, **limits))
    assert plain.seen == limited.seen
    assert all(batch["sampled"].all() for batch in limited.batches)


class KeepFirst(Checkpoint):
    """A checkpoint after the first batch."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def on_train_batch_end(self, trainer: pl.Trainer, *_: Any) -> None:
        if trainer.global_step == 1:
            trainer.save_checkpoint(self.path)


def test_a_resumed_run_draws_the_same(few: Path, tmp_path: Path) -> None:
    def run(**options: Any) -> Any:
        limits = {"positives_per_class": 5, "negatives_per_class": 6}
        return fit(fakes.module_of(few, folder=tmp_path / "features", **limits), [1], **options)

    stopped = tmp_path / "stopped.ckpt"
    whole = run(callbacks=[KeepFirst(stopped)], enable_checkpointing=True)
    resumed = run(ckpt_path=stopped)
    assert len(whole.batches) == 6
    for one, other in zip(whole.batches[1:], resumed.batches, strict=True):
        assert one["key"] == other["key"]
        assert torch.equal(one["sampled"], other["sampled"])
    assert torch.equal(resumed.head.weight, whole.head.weight)


def test_ranks_share_one_draw_out(few: Path, tmp_path: Path) -> None:
    data = fakes.module_of(few, folder=tmp_path)
    fit(data)
    table = data._feature_table("train", fakes.MeanColour())
    samples = ClassSamples(table.labels, [0, 2], SamplingOptions(5, 7))
    rows = torch.from_numpy(samples.rows[:12])

    def said(world: int, size: int) -> list[dict[str, list[bool]]]:
        """What is said of each sample, by global batch."""
        shares = [RankShare(rank, world) for rank in range(world)]
        loaders = [ShuffledFeatures(table, EpochOrder(rows.numpy()), size, share, samples).epoch(0) for share in shares]
        return [
            {key: row.tolist() for part in parts for key, row in zip(part["key"], part["sampled"], strict=True)}
            for parts in zip(*loaders, strict=True)
        ]

    assert said(1, 6) == said(2, 3) == said(3, 2)
    assert [len(batch) for batch in said(1, 6)] == [6, 6]


@pytest.mark.parametrize("options", [{"augment": True}, {"cache": False}])
def test_streamed_images_are_not_sampled(few: Path, tmp_path: Path, options: dict[str, Any]) -> None:
    data = fakes.module_of(few, folder=tmp_path, negatives_per_class=4, **options)
    with pytest.raises(
        ValueError, match=r"data\.init_args\.loading\.augment: false and data\.init_args\.features\.cache: true"
    ):
        fit(data)


def test_a_fit_in_one_pass_reads_each_sample_that_is_drawn_once(few: Path, tmp_path: Path) -> None:
    data = fakes.module_of(few, folder=tmp_path, positives_per_class=2, negatives_per_class=3)
    module = fit(data, one_pass=True, max_epochs=1)
    labels = data._feature_table("train", fakes.MeanColour()).labels
    rows = np.flatnonzero(data._samples_of("train"))
    samples = ClassSamples(labels, [0, 1, 2], SamplingOptions(2, 3), candidates=rows)
    keys = [key for batch in module.batches for key in batch["key"]]
    assert len(keys) == len(set(keys)) == len(samples.rows)
    said = torch.cat([batch["sampled"] for batch in module.batches])
    assert torch.equal(said, torch.from_numpy(samples.sampled(samples.rows)))


@pytest.mark.parametrize(
    ("limits", "told"),
    [
        ((3, 4), []),
        ((5, None), ["positives_per_class is 5, and 2 of 3 classes have 3 to 4 such"]),
        ((None, 10), ["negatives_per_class is 10, and 3 of 3 classes have 7 to 9 such"]),
        ((4, 9), ["positives_per_class is 4, and 1 of 3 classes have 3 such", "negatives_per_class is 9, and 2 of 3"]),
    ],
)
def test_limits_that_are_not_reached_are_told(limits: tuple[int | None, int | None], told: list[str]) -> None:
    labels = np.repeat([0, 1, 2], [3, 4, 5])
    sentences = ClassSamples(labels, [0, 1, 2], SamplingOptions(*limits)).shortages()
    assert len(sentences) == len(told)
    assert all(part in sentence for part, sentence in zip(told, sentences, strict=True))


def test_they_are_told_once_a_fit(few: Path, tmp_path: Path) -> None:
    data = fakes.module_of(few, folder=tmp_path, negatives_per_class=8000)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        fit(data)
    assert len([one for one in caught if "negatives_per_class is 8000" in str(one.message)]) == 1


def test_a_fit_in_one_pass_is_not_sampled(few: Path, tmp_path: Path) -> None:
    module = fakes.Recorder(fakes.MeanColour())
    module.one_pass = True
    data = fakes.module_of(few, folder=tmp_path, negatives_per_class=4)
    with pytest.raises(ValueError, match="with a module that fits each class on samples of its own"):
        pl.Trainer(max_epochs=1, **fakes.QUIET).fit(module, datamodule=data)


@pytest.mark.parametrize("name", ["positives_per_class", "negatives_per_class"])
def test_a_limit_below_one_is_refused(few: Path, name: str) -> None:
    with pytest.raises(ValueError, match=rf"{name} is 0; give 1 or more or null"):
        fakes.module_of(few, **{name: 0})
