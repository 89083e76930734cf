"""Dead heads are restarted and dead x-features dropped, at the epochs and in the part of the training that is asked for."""

from types import SimpleNamespace
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from torch import Tensor

from callbacks.health import DropDeadFeatures, RestartDeadHeads, training_heads
from vitrine.explainers.srae.heads import SeparateHeads, SharedHeads

ALIVE = [1.0, 0.5, 0.25]
DEAD = [1.0, -0.5, -0.25]


class TrainingModule(pl.LightningModule):
    """Three heads with three x-features each, whose mean contributions are given."""

    def __init__(self, means: Tensor, *, shared: bool = False, known: bool = True, share: float = 0.0) -> None:
        super().__init__()
        torch.manual_seed(0)
        heads = (SharedHeads if shared else SeparateHeads)(3, 4, 3, (5,))
        self.knows_contributions, self.share = known, share
        self.explainer = SimpleNamespace(
            explained_classes=[4, 5, 6], class_name=lambda index: f"class {index}", heads=heads
        )
        self.of_settings = {"": self.explainer}
        self.means = {"": means}
        self.restarted: list[tuple[int, float]] = []

    def share_done(self) -> float:
        return self.share

    @property
    def heads(self) -> SeparateHeads | SharedHeads:
        heads: SeparateHeads | SharedHeads = self.explainer.heads
        return heads

    def contributions_of_settings(self) -> dict[str, Tensor]:
        return self.means

    def restart_head(self, row: int, generator: torch.Generator, name: str) -> None:
        assert name == ""
        self.restarted.append((row, float(torch.rand((), generator=generator))))


def end_epochs(callback: pl.Callback, module: pl.LightningModule, *epochs: int) -> None:
    for epoch in epochs:
        trainer: Any = SimpleNamespace(current_epoch=epoch)
        callback.on_train_epoch_end(trainer, module)


def rows(module: TrainingModule) -> list[int]:
    return [row for row, _ in module.restarted]


def test_a_head_with_fewer_than_two_positive_x_features_is_restarted() -> None:
    module = TrainingModule(torch.tensor([ALIVE, DEAD, ALIVE]))
    end_epochs(RestartDeadHeads(every_n_epochs=1), module, 0)
    assert rows(module) == [1]


def test_heads_are_looked_at_every_so_many_epochs_and_restarted_so_many_times() -> None:
    module = TrainingModule(torch.tensor([DEAD, ALIVE, ALIVE]))
    restart = RestartDeadHeads(every_n_epochs=2, max_restarts=2)
    end_epochs(restart, module, 0)
    assert rows(module) == []
    end_epochs(restart, module, 1, 2, 3, 4, 5)
    assert rows(module) == [0, 0]
    assert restart.restarts == {0: 2}


@pytest.mark.parametrize(("share", "count"), [(0.5, 1), (0.51, 0)])
def test_the_last_part_of_the_training_is_left_alone(share: float, count: int) -> None:
    module = TrainingModule(torch.tensor([DEAD, ALIVE, ALIVE]), share=share)
    end_epochs(RestartDeadHeads(every_n_epochs=1, until=0.5), module, 0)
    assert len(module.restarted) == count


def test_weights_follow_from_seed_epoch_and_head() -> None:
    drawn = []
    for seed, epoch in ((0, 0), (0, 0), (1, 0), (0, 1)):
        module = TrainingModule(torch.tensor([DEAD, DEAD, ALIVE]))
        end_epochs(RestartDeadHeads(every_n_epochs=1, seed=seed), module, epoch)
        drawn.append([number for _, number in module.restarted])
    assert drawn[0] == drawn[1]
    assert len({tuple(numbers) for numbers in drawn}) == 3
    assert drawn[0][0] != drawn[0][1]


@pytest.mark.parametrize("options", [{"shared": True}, {"known": False}])
def test_shared_trunks_and_epochs_without_contributions_are_left_alone(options: dict[str, Any]) -> None:
    module = TrainingModule(torch.tensor([DEAD, DEAD, DEAD]), **options)
    end_epochs(RestartDeadHeads(every_n_epochs=1), module, 0)
    assert not module.restarted


def test_other_modules_are_left_alone() -> None:
    module = pl.LightningModule()
    assert training_heads(module) is None
    for callback in (RestartDeadHeads(every_n_epochs=1), DropDeadFeatures(start=0.0)):
        end_epochs(callback, module, 0)


def test_counts_of_restarts_are_in_checkpoints_under_their_earlier_name() -> None:
    restart, resumed = RestartDeadHeads(), RestartDeadHeads()
    restart.restarts = {3: 2}
    resumed.load_state_dict(restart.state_dict())
    assert resumed.restarts == {3: 2}
    assert restart.state_key == "RestartDegenerateHeads"


def test_dead_x_features_are_dropped_but_for_the_strongest() -> None:
    means = torch.tensor([[10.0, 0.05, 0.2], [1.0, 1.0, 1.0], [1.0, 1e-4, 1e-5]])
    for min_features, alive in ((1, [1, 0, 1, 1, 1, 1, 1, 0, 0]), (2, [1, 0, 1, 1, 1, 1, 1, 1, 0])):
        module = TrainingModule(means)
        end_epochs(DropDeadFeatures(threshold=0.01, start=0.0, min_features=min_features), module, 0)
        assert module.heads.alive.flatten().int().tolist() == alive


@pytest.mark.parametrize(("share", "dropped"), [(0.49, 0), (0.5, 2)])
def test_x_features_are_dropped_from_the_start_on(share: float, dropped: int) -> None:
    module = TrainingModule(torch.tensor([[1.0, 0, 1], [1, 1, 1], [1, 0, 1]]), share=share)
    end_epochs(DropDeadFeatures(start=0.5), module, 0)
    assert int((~module.heads.alive).sum()) == dropped


@pytest.mark.parametrize(
    ("kind", "options", "told"),
    [
        (RestartDeadHeads, {"every_n_epochs": 0}, "every_n_epochs is 0"),
        (RestartDeadHeads, {"max_restarts": -1}, "max_restarts is -1"),
        (RestartDeadHeads, {"until": 1.5}, "until is 1.5"),
        (DropDeadFeatures, {"threshold": 0.0}, "threshold is 0.0"),
        (DropDeadFeatures, {"start": -0.1}, "start is -0.1"),
        (DropDeadFeatures, {"min_features": 0}, "min_features is 0"),
    ],
)
def test_numbers_out_of_range(kind: Any, options: dict[str, float], told: str) -> None:
    with pytest.raises(ValueError, match=told):
        kind(**options)
