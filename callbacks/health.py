"""Finds degenerate heads while they can still be mended."""

import torch
from pytorch_lightning import Callback, LightningModule, Trainer
from pytorch_lightning.utilities import rank_zero_info
from typing_extensions import override

from lightning_modules.srae import SRAEModule
from vitrine.metrics.live_x_features import degenerate_heads


class RestartDegenerateHeads(Callback):
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
        self.every_n_epochs = every_n_epochs
        self.max_restarts = max_restarts
        self.until = until
        self.seed = seed
        self.restarts: dict[int, int] = {}

    @override
    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        epoch = trainer.current_epoch + 1
        if not isinstance(pl_module, SRAEModule) or epoch % self.every_n_epochs:
            return
        # A collective: every rank computes the same counts and so restarts the same heads with the same weights.
        means = pl_module.live_x_features.compute()
        if epoch > self.until * (trainer.max_epochs or 0):
            return
        for row in degenerate_heads(means):
            if self.restarts.get(row, 0) < self.max_restarts:
                self._restart(pl_module, row, epoch)

    def _restart(self, module: SRAEModule, row: int, epoch: int) -> None:
        generator = torch.Generator().manual_seed(hash((self.seed, epoch, row)) % 2**31)
        module.restart_head(row, generator)
        self.restarts[row] = self.restarts.get(row, 0) + 1
        name = module.explainer.class_name(module.explainer.explained_classes[row])
        rank_zero_info(f"Epoch {epoch}: the head of {name} was degenerate and is started anew.")

    @override
    def state_dict(self) -> dict[str, dict[int, int]]:
        return {"restarts": self.restarts}

    @override
    def load_state_dict(self, state_dict: dict[str, dict[int, int]]) -> None:
        self.restarts = dict(state_dict["restarts"])
