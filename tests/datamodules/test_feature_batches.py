"""Batches of cached features: every rank its share, in the same order after a resume."""

import itertools
from pathlib import Path

import torch

from tests.helpers import shard_fakes as fakes


def test_orders_of_kept_features_share_evenly(few: Path, tmp_path: Path) -> None:
    from datamodules.epoch_order import EpochOrder
    from datamodules.feature_batches import OrderedFeatures, ShuffledFeatures
    from datamodules.ranks import RankShare
    from vitrine.data.feature_store import FeatureTable

    data = fakes.module_of(few, folder=tmp_path)
    fakes.fit_once(data, fakes.MeanColour())
    table = FeatureTable(fakes.stores_of(data)[0])
    assert len(table) == 43
    rows = torch.arange(3, 43)
    for world in (1, 2, 3):
        shares = [RankShare(rank, world) for rank in range(world)]
        loaders = [ShuffledFeatures(table, EpochOrder(rows.numpy()), 4, share) for share in shares]
        epochs = [[fakes.keys_of(loader.epoch(number)) for loader in loaders] for number in (0, 0, 1)]
        assert epochs[0] == epochs[1] != epochs[2]
        assert len({len(loader) for loader in loaders}) == 1
        assert [len(batches) for batches in epochs[0]] == [len(loader) for loader in loaders]
        keys = list(itertools.chain(*itertools.chain(*epochs[0])))
        assert len(keys) == len(set(keys)) == 40
        assert fakes.keys_of(loaders[0].epoch(0, 2 * 4 * world)) == epochs[0][0][2:]
        once = itertools.chain(*(OrderedFeatures(table, rows, 4, share) for share in shares))
        assert sorted(itertools.chain(*fakes.keys_of(once))) == sorted(table.batch(rows)["key"])
    none = OrderedFeatures(table, rows[:1], 4, RankShare(1, 2))
    assert len(none) == 1  # a loader of length 0 would be skipped, with the hooks in which the other ranks wait
    assert list(none) == []
