"""RestartDeadHeads and DropDeadFeatures: keep SRAE heads healthy while they are trained."""

from collections.abc import Mapping
from typing import Annotated, ClassVar, Protocol, cast

import torch
from pytorch_lightning import Callback, LightningModule, Trainer
from pytorch_lightning.utilities import rank_zero_info
from torch import Tensor
from typing_extensions import override

from vitrine.core.options import Count, CountOrZero, Range, Share, checked
from vitrine.data.contracts import satisfies
from vitrine.explainers import SRAEExplainer
from vitrine.explainers.srae.heads import SharedHeads
from vitrine.metrics.alive_features import dead_features, dead_heads

HeadKey = int | tuple[str, int]
"""A head by its row, and by its setting before it where there are several."""


class TrainsHeads(Protocol):
    """A module that trains x-feature heads at one setting or several, and measures what their x-features contribute."""

    @property
    def of_settings(self) -> Mapping[str, SRAEExplainer]:
        """By setting, whose name is empty where there is one alone, the explainer whose heads are trained."""

    @property
    def knows_contributions(self) -> bool:
        """Whether this epoch measures contributions."""

    def contributions_of_settings(self) -> Mapping[str, Tensor]:
        """By setting, (J, n) mean contributions in this epoch; a collective."""

    def share_done(self) -> float:
        """Share of their training that the heads have behind them at the end of this epoch."""

    def restart_head(self, row: int, generator: torch.Generator, name: str) -> None:
        """Draws a head's weights anew, of the setting of a name."""


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
        self.restarts: dict[HeadKey, int] = {}

    @override
    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        epoch, module = trainer.current_epoch + 1, training_heads(pl_module)
        if module is None or epoch % self.every_n_epochs:
            return
        if all(isinstance(one.heads, SharedHeads) for one in module.of_settings.values()):
            return
        # A collective: every rank computes the same counts and so restarts the same heads with the same weights.
        of_settings = module.contributions_of_settings()
        if module.share_done() > self.until:
            return
        for name, means in of_settings.items():
            for row in dead_heads(means):
                if self.restarts.get(_key(name, row), 0) < self.max_restarts:
                    self._restart(module, name, row, epoch)

    def _restart(self, module: TrainsHeads, name: str, row: int, epoch: int) -> None:
        generator = torch.Generator().manual_seed(hash((self.seed, epoch, row)) % 2**31)
        module.restart_head(row, generator, name)
        key = _key(name, row)
        self.restarts[key] = self.restarts.get(key, 0) + 1
        explainer = module.of_settings[name]
        head = f"head of {explainer.class_name(explainer.explained_classes[row])}{name and f' at {name}'}"
        rank_zero_info(f"Epoch {epoch}: the {head} was dead and is started anew.")

    @property
    @override
    def state_key(self) -> str:
        return "RestartDegenerateHeads"  # its name in checkpoints, also in those written before it had this one

    @override
    def state_dict(self) -> dict[str, dict[HeadKey, int]]:
        return {"restarts": self.restarts}

    @override
    def load_state_dict(self, state_dict: dict[str, dict[HeadKey, int]]) -> None:
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
        of_settings = module.contributions_of_settings()  # a collective: every rank drops the same
        if module.share_done() < self.start:
            return
        for name, means in of_settings.items():
            heads = module.of_settings[name].heads
            dead = dead_features(means, heads.alive, self.threshold, self.min_features)
            heads.drop(dead)
            if bool(dead.any()):
                told = f"{int(dead.sum())} dead x-features{name and f' of {name}'} were dropped."
                rank_zero_info(f"Epoch {trainer.current_epoch + 1}: {told}")


def _key(name: str, row: int) -> HeadKey:
    return (name, row) if name else row
