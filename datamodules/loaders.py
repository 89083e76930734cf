"""Loaders for a trainer: epochs that can be resumed, and loaders whose batches are shared out over ranks already."""

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from datamodules.trainer_progress import Progress
from vitrine.core.batch import Batch


@dataclass(frozen=True)
class _Place:
    """Where a pass over an epoch began."""

    epoch: int
    samples: int
    """Samples of the epoch that were trained on before."""
    trainer_epoch: int
    trained_batches: int
    """As the trainer counted them."""


class EpochLoader:
    """Asks for an epoch's batches when the first of them is drawn; a trainer's checkpoint keeps its place.

    The place is the number of samples of the epoch that all ranks together have trained on, so that a run goes on there with
    another number of ranks and another batch size.

    Args:
        make: gives this rank's batches of (epoch, samples of all ranks to skip).
        progress: says where the trainer stands.
        samples: per epoch, over all ranks.
        global_batch: samples in a full batch of all ranks together.
    """

    def __init__(
        self, make: Callable[[int, int], Iterable[Batch]], progress: Progress, samples: int, global_batch: int
    ) -> None:
        self.make = make
        self.progress = progress
        self.samples = samples
        self.global_batch = global_batch
        self._place: _Place | None = None
        self._yielded = 0
        self._resumed: tuple[int, int] | None = None  # the epoch to go on with, and how many of its samples are done

    def __len__(self) -> int:
        return math.ceil(self.samples / self.global_batch)

    def __iter__(self) -> Iterator[Batch]:
        self.progress.begin_epoch()
        epoch, samples = self._begin()
        self._resumed, self._yielded = None, 0
        self._place = _Place(epoch, samples, self.progress.epoch, self.progress.trained_batches or 0)
        for batch in self.make(self.progress.order_of(epoch), samples):
            self._yielded += 1
            yield batch

    def _begin(self) -> tuple[int, int]:
        if self._resumed is not None:
            return self._resumed
        return (self.progress.epoch if self._place is None else self._place.epoch + 1), 0

    def state_dict(self) -> dict[str, int]:
        """The epoch to go on with, and how many of its samples all ranks together have trained on."""
        if self._place is None or self._resumed is not None or self._is_over(self._place):
            epoch, samples = self._begin()
        else:
            epoch, samples = self._place.epoch, self._trained(self._place)
        return {"epoch": epoch, "samples": samples}

    def _trained(self, place: _Place) -> int:
        """Samples of the current epoch that were trained on; a batch that was drawn may not have been."""
        counted = self.progress.trained_batches
        batches = self._yielded if counted is None else min(counted - place.trained_batches, self._yielded)
        return min(place.samples + batches * self.global_batch, self.samples)

    def _is_over(self, place: _Place) -> bool:
        """Whether the next batch is one of the next epoch."""
        # The trainer's count begins anew before that batch is drawn. An epoch that max_steps cuts short keeps its count.
        turned_over = self.progress.epoch > place.trainer_epoch and self.progress.trained_batches == 0
        return turned_over or self.progress.is_complete or self._trained(place) >= self.samples

    def load_state_dict(self, state_dict: dict[str, int]) -> None:
        """The next batch drawn is the one after those trained on; earlier checkpoints count them as ``batches``."""
        epoch, length = state_dict["epoch"], self.progress.limited(len(self))
        samples = state_dict["samples"] if "samples" in state_dict else state_dict["batches"] * self.global_batch
        done = len(self) - math.ceil((self.samples - samples) / self.global_batch)
        if samples and done >= length:  # such as for a set that has become smaller, or another limit
            epoch, samples = epoch + 1, 0
        if samples == 0 and self.progress.trained_batches:  # the trainer has yet to end the epoch before
            done = length
        self._resumed = epoch, samples
        self.progress.resume_after(done)


class WholeLoader:
    """A loader that the trainer takes as it is; a bare DataLoader's samples it would share out over the ranks once more.

    Args:
        batches: this rank's.
        length: the largest number of batches that any rank has: all ranks have to say the same, since a trainer leaves a
            loader of length 0 out, with the hooks in which the other ranks wait.
    """

    def __init__(self, batches: Iterable[Batch], length: int) -> None:
        self.batches = batches
        self.length = length

    def __len__(self) -> int:
        return self.length

    def __iter__(self) -> Iterator[Batch]:
        return iter(self.batches)


class EvenLoader(WholeLoader):
    """A `WholeLoader` for training, in which all ranks draw the same number of batches; those without more draw empty ones.

    Args:
        batches: this rank's.
        length: the largest number of batches that any rank has.
        empty_batch: gives a batch of no samples.
    """

    def __init__(self, batches: Iterable[Batch], length: int, empty_batch: Callable[[], Batch]) -> None:
        super().__init__(batches, length)
        self.empty_batch = empty_batch

    def __iter__(self) -> Iterator[Batch]:
        left = self.length
        for batch in self.batches:
            left -= 1
            yield batch
        for _ in range(left):
            yield self.empty_batch()
