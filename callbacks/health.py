"""Finds degenerate heads while they can still be mended, and x-features that no prediction needs."""

import torch
from pytorch_lightning import Callback, LightningModule, Trainer
from pytorch_lightning.utilities import rank_zero_info
from typing_extensions import override

from lightning_modules.srae import SRAEModule
from vitrine.explainers.srae.heads import SharedHeads
from vitrine.metrics.alive_features import dead_features, dead_heads


class RestartDeadHeads(Callback):
    """Draws anew the heads with fewer than two x-features that contribute positively to their class.

    Such a head says no more than the logit itself (appendix of Qi, Khorram and Li 2018, figure 8). The last part of the
    training is left alone, so that a restarted head has time to converge.

    Args:
        every_n_epochs: how often heads are looked at.
        max_restarts: how often one head may be drawn anew.
        until: share of the training after which no head is restarted any more.
        seed: of the new weights; the same on all ranks.
    """

    def __init__(self, every_n_epochs: int = 10, max_restarts: int = 3, until: float = 0.5, seed: int = 0) -> None:
        if every_n_epochs < 1:
            raise ValueError(f"every_n_epochs is {every_n_epochs}; heads must be looked at every 1 or more epochs.")
        if max_restarts < 0 or not 0 <= until <= 1:
            raise ValueError(
                f"RestartDeadHeads: max_restarts {max_restarts} must be 0 or more, and until {until} a share, 0 to 1."
            )
        self.every_n_epochs = every_n_epochs
        self.max_restarts = max_restarts
        self.until = until
        self.seed = seed
        self.restarts: dict[int, int] = {}

    @override
    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        epoch = trainer.current_epoch + 1
        if not isinstance(pl_module, SRAEModule) or epoch % self.every_n_epochs or not pl_module.knows_contributions:
            return
        if isinstance(pl_module.heads, SharedHeads):  # none of them can be drawn anew without the others
            return
        # A collective: every rank computes the same counts and so restarts the same heads with the same weights.
        means = pl_module.alive_features.compute()
        if pl_module.epochs_done_share > self.until:
            return
        for row in dead_heads(means):
            if self.restarts.get(row, 0) < self.max_restarts:
                self._restart(pl_module, row, epoch)

    def _restart(self, module: SRAEModule, row: int, epoch: int) -> None:
        generator = torch.Generator().manual_seed(hash((self.seed, epoch, row)) % 2**31)
        module.restart_head(row, generator)
        self.restarts[row] = self.restarts.get(row, 0) + 1
        name = module.explainer.class_name(module.explainer.explained_classes[row])
        rank_zero_info(f"Epoch {epoch}: the head of {name} was degenerate and is started anew.")

    @property
    @override
    def state_key(self) -> str:
        return "RestartDegenerateHeads"  # its name in checkpoints, also in those written before it had this one

    @override
    def state_dict(self) -> dict[str, dict[int, int]]:
        return {"restarts": self.restarts}

    @override
    def load_state_dict(self, state_dict: dict[str, dict[int, int]]) -> None:
        self.restarts = dict(state_dict["restarts"])


class DropDeadFeatures(Callback):
    """Takes x-features out of their heads whose contribution to their class is next to nothing, and so finds n by itself.

    The paper saw that more x-features than a class needs get a weight of 0 (section 4.2): begin with more than are wanted.
    What is dropped is not shown any more; the rest goes on training without it.

    Args:
        threshold: share of a head's absolute mean contributions below which an x-feature is idle.
        start: share of the training after which x-features are looked at, at the end of every epoch.
        minimum: x-features that a head keeps in any case, those that contribute most.
    """

    def __init__(self, threshold: float = 0.01, start: float = 0.5, minimum: int = 2) -> None:
        if not 0 < threshold < 1 or not 0 <= start <= 1 or minimum < 1:
            raise ValueError(
                f"DropDeadFeatures: threshold {threshold} and start {start} must be shares, and minimum {minimum} 1 or more."
            )
        self.threshold, self.start, self.minimum = threshold, start, minimum

    @override
    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if not isinstance(pl_module, SRAEModule) or not pl_module.knows_contributions:
            return
        means = pl_module.alive_features.compute()  # a collective: every rank drops the same
        if pl_module.epochs_done_share < self.start:
            return
        idle = dead_features(means, pl_module.heads.alive, self.threshold, self.minimum)
        pl_module.heads.drop(idle)
        if bool(idle.any()):
            rank_zero_info(f"Epoch {trainer.current_epoch + 1}: {int(idle.sum())} idle x-features were dropped.")
