"""RestartDeadHeads and DropDeadFeatures: keep SRAE heads healthy while they are trained."""

from collections.abc import Mapping
from typing import Annotated, ClassVar, Protocol, cast

import torch
from pytorch_lightning import Callback, LightningModule, Trainer
from pytorch_lightning.utilities import rank_zero_info
from typing_extensions import override

from vitrine.core.options import Count, CountOrZero, Range, Share, checked
from vitrine.data.contracts import satisfies
from vitrine.explainers import SRAEExplainer
from vitrine.explainers.srae.heads import SeparateHeads, SharedHeads
from vitrine.metrics.alive_features import AliveFeatures, dead_features, dead_heads


class TrainsHeads(Protocol):
    """A module that trains x-feature heads, and measures what their x-features contribute."""

    @property
    def explainer(self) -> SRAEExplainer:
        """The explainer whose heads are trained."""

    @property
    def alive_features(self) -> AliveFeatures:
        """Mean contributions in this epoch."""

    @property
    def heads(self) -> SeparateHeads | SharedHeads:
        """The heads, in the order of the explained classes."""

    @property
    def knows_contributions(self) -> bool:
        """Whether this epoch measures contributions."""

    def share_done(self) -> float:
        """Share of their training that the heads have behind them at the end of this epoch."""

    def restart_head(self, row: int, generator: torch.Generator) -> None:
        """Draws a head's weights anew."""


def training_heads(module: LightningModule) -> TrainsHeads | None:
    """The module, if it trains heads and knows this epoch what their x-features contribute."""
    heads_module = cast("TrainsHeads", module) if satisfies(module, TrainsHeads) else None
    return heads_module if heads_module is not None and heads_module.knows_contributions else None


class RestartDeadHeads(Callback):
    """Draws the weights of dead heads anew: those with fewer than two x-features that contribute positively to their class.

    Such a head says no more than the logit itself (appendix of Qi, Khorram and Li 2018, figure 8). Heads are left alone in
    the last part of the training, so that a restarted head has time to converge. Modules without such heads are left alone,
    and so are heads on a shared trunk, of which none can be drawn anew without the others.

    Args:
        every_n_epochs: how often heads are looked at.
        max_restarts: how often one head may be drawn anew.
        until: share of the training after which no head is restarted any more.
        seed: of the new weights; the same on all ranks.

    Raises:
        ValueError: for a number out of its range.
    """

    @checked
    def __init__(
        self, every_n_epochs: Count = 10, max_restarts: CountOrZero = 3, until: Share = 0.5, seed: int = 0
    ) -> None:
        self.every_n_epochs = every_n_epochs
        self.max_restarts = max_restarts
        self.until = until
        self.seed = seed
        self.restarts: dict[int, int] = {}

    @override
    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        epoch, module = trainer.current_epoch + 1, training_heads(pl_module)
        if module is None or epoch % self.every_n_epochs or isinstance(module.heads, SharedHeads):
            return
        # A collective: every rank computes the same counts and so restarts the same heads with the same weights.
        means = module.alive_features.compute()
        if module.share_done() > self.until:
            return
        for row in dead_heads(means):
            if self.restarts.get(row, 0) < self.max_restarts:
                self._restart(module, row, epoch)

    def _restart(self, module: TrainsHeads, row: int, epoch: int) -> None:
        generator = torch.Generator().manual_seed(hash((self.seed, epoch, row)) % 2**31)
        module.restart_head(row, generator)
        self.restarts[row] = self.restarts.get(row, 0) + 1
        name = module.explainer.class_name(module.explainer.explained_classes[row])
        rank_zero_info(f"Epoch {epoch}: the head of {name} was dead and is started anew.")

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
    """Drops x-features whose contribution to their class is next to nothing, and so finds n by itself.

    The paper saw that more x-features than a class needs get a weight of 0 (section 4.2): begin with more than are wanted.
    A dropped x-feature is not shown any more; the others are trained further without it. Modules without x-feature heads
    are left alone.

    Args:
        threshold: share of a head's absolute mean contributions below which an x-feature is dead.
        start: share of the training after which x-features are looked at, at the end of every epoch.
        min_features: x-features that a head keeps in any case, those that contribute most.

    Raises:
        ValueError: for a number out of its range.
    """

    RENAMED: ClassVar[Mapping[str, str]] = {"minimum": "min_features"}

    @checked
    def __init__(
        self,
        threshold: Annotated[float, Range(above=0, below=1)] = 0.01,
        start: Share = 0.5,
        min_features: Count = 2,
    ) -> None:
        self.threshold, self.start, self.min_features = threshold, start, min_features

    @override
    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        module = training_heads(pl_module)
        if module is None:
            return
        means = module.alive_features.compute()  # a collective: every rank drops the same
        if module.share_done() < self.start:
            return
        dead = dead_features(means, module.heads.alive, self.threshold, self.min_features)
        module.heads.drop(dead)
        if bool(dead.any()):
            rank_zero_info(f"Epoch {trainer.current_epoch + 1}: {int(dead.sum())} dead x-features were dropped.")
