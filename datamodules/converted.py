"""Data sets whose shards are made once from the folder that the official archive unpacks to."""

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from pytorch_lightning.trainer.states import TrainerFn
from pytorch_lightning.utilities import rank_zero_info, rank_zero_warn
from typing_extensions import override

from datamodules.base import ShardDataModule
from datamodules.shard_source import ShardSource, difference, listing_digest, source_record, stamp_of
from datamodules.split_sources import ShardsOption, is_set_folder
from vitrine.core.options import OptionError
from vitrine.data.shards.converter import SampleSet, write_set
from vitrine.data.shards.converters.split_folders import SPLITS
from vitrine.data.shards.schema import INDEX_FILE, ShardIndex, parse_index


class ConvertedDataModule(ShardDataModule):
    """Shards, made from ``root`` where they are not there.

    Beside each split stands a record of what it was made from. Shards of another folder, of other options, or of a folder
    that has changed since, are refused.

    Args:
        shards: folder of the shards, as in `ShardDataModule`.
        root: the raw data set, or None where the shards are there.
        at_most: by split, how many of its samples are taken, evenly spaced; all of them without it.
        kwargs: further options of `ShardDataModule`.

    Raises:
        OptionError: for an ``at_most`` of what is no split, or below 1.
    """

    def __init__(
        self,
        shards: ShardsOption,
        root: str | Path | None = None,
        at_most: Mapping[str, int] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(shards, **kwargs)
        self.root = None if root is None else Path(root)
        self._of_all_sets = frozenset([*vars(self), "_of_all_sets"])  # what a subclass adds are options of its set
        if not all(split in SPLITS and count >= 1 for split, count in (at_most or {}).items()):
            raise OptionError("at_most", dict(at_most or {}), f"numbers of samples above 0 of {', '.join(SPLITS)}")
        self.at_most = dict(at_most or {})

    def raw_folder(self, split: str) -> Path | None:  # noqa: ARG002 - for sets that come from several folders
        """The raw data set that a split is made from."""
        return self.root

    @abstractmethod
    def list_split(self, root: Path, split: str) -> SampleSet | None:
        """The samples of a split of the raw data set; None for one that it does not have."""

    def _listed(self, raw: Path, split: str) -> SampleSet | None:
        """What `list_split` gives, or so many of its samples."""
        listed, count = self.list_split(raw, split), self.at_most.get(split)
        if listed is None or count is None or count >= len(listed.samples):
            return listed
        places = (place * len(listed.samples) // count for place in range(count))
        return replace(listed, samples=[listed.samples[place] for place in places])

    @override
    def prepare_data(self) -> None:
        """Makes the shards that are not there, and compares the others with the raw data set.

        Raises:
            FileNotFoundError: where a file of the raw data set is absent.
            ValueError: where the root is a file, or the shards were made from something else.
        """
        if not is_set_folder(self.shards):
            return
        for split in SPLITS:
            raw = self.raw_folder(split)
            if raw is None:
                continue
            if raw.exists() and not raw.is_dir():
                raise ValueError(f"{raw} is a file; give the folder of a data set as data.init_args.root, or null.")
            if (self.shards / split / INDEX_FILE).is_file():
                if not self._is_predicting:
                    self._compare(raw, split)
            elif raw.is_dir():
                self._convert(raw, split)

    def _convert(self, raw: Path, split: str) -> None:
        stamp = stamp_of(raw)
        listed = self._listed(raw, split)
        if listed is None:
            return
        # Another node or run may have written them since.
        index = write_set(listed, self.shards / split, shard_size=1000, workers=None, seed=0, reuse=True)
        self._check_listed(raw, split, listed, index, stamp)
        for note in listed.notes:
            rank_zero_info(f"{self.shards / split}: {note}")

    def _compare(self, raw: Path, split: str) -> None:
        """Refuses shards that were not made from a raw data set."""
        known = ShardSource.read(source_record(self.shards, split))
        if not raw.is_dir():
            if known is None:
                rank_zero_warn(f"{raw} does not exist: the shards in {self.shards / split} are taken as they are.")
            elif known.root != str(raw.resolve()):
                raise self._other(raw, split, f"made from {known.root}", "it does not exist")
            return
        if known is not None and known.is_unchanged(raw, self._listing_options):
            return
        stamp = stamp_of(raw)
        listed = self._listed(raw, split)
        if known is None and listed is None:  # converted by hand from elsewhere
            return
        self._check_listed(raw, split, listed, parse_index(self.shards / split), stamp)

    def _check_listed(self, raw: Path, split: str, listed: SampleSet | None, index: ShardIndex, stamp: str) -> None:
        record = source_record(self.shards, split)
        known, told = ShardSource.read(record), difference(listed, index)
        made = "made from another data set" if known is None else f"made from {known.root}"
        if listed is None or told is not None:
            raise self._other(raw, split, made, told or "")
        digest = listing_digest(listed)
        if known is not None and known.listing != digest:
            raise self._other(raw, split, made, "its samples have other names, sizes or annotation")
        ShardSource(str(raw.resolve()), self._listing_options, stamp, digest).write(record)

    def _other(self, raw: Path, split: str, made: str, told: str) -> ValueError:
        return ValueError(
            f"data.init_args.shards: {self.shards / split} was {made}, not from {raw} as it is now: {told}; give another"
            " folder as data.init_args.shards, or null as data.init_args.root to take the shards as they are."
        )

    @property
    def _is_predicting(self) -> bool:
        return self.trainer is not None and self.trainer.state.fn == TrainerFn.PREDICTING

    @property
    def _listing_options(self) -> dict[str, str]:
        """The options of a subclass beside those of all datamodules, which choose among the samples."""
        own = {name: value for name, value in vars(self).items() if name not in self._of_all_sets}
        if not self.at_most:  # as sets that were made before it was there
            del own["at_most"]
        return {name: str(value) for name, value in sorted(own.items())}
