"""Grouped fits: many heads, group after group and each rank its own, where all at once would not fit into memory."""

from abc import abstractmethod
from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
import torch.distributed as dist
from pytorch_lightning.utilities import rank_zero_info, rank_zero_warn
from torch import Tensor, nn
from typing_extensions import override

from lightning_modules.base import ExplainerModule
from lightning_modules.class_groups import ClassGroups
from vitrine.core.allocator import return_freed_memory
from vitrine.core.batch import Batch
from vitrine.core.distributed import cat_batches_over_ranks, gather_over_ranks, global_rank, world_size
from vitrine.core.memory import amount, fit_bytes, free_bytes, readable_size
from vitrine.core.verbosity import is_verbose
from vitrine.explainers.srae.x_features import XFeatureExplainer


class Samples(NamedTuple):
    """What one step's heads are trained on."""

    features: Tensor
    """(B, D) Z."""
    logits: Tensor
    """(B, J') ŷ of the classes whose heads are trained."""
    positive: Tensor
    """(B, J') bool: whether an image is of the class."""
    sampled: Tensor | None
    """(B, J') bool: whether an image is among those that the class's head is fitted on; None where all are."""
    all_logits: Tensor
    """(B, C)."""


class GroupedFitModule(ExplainerModule):
    """Trains all heads together, over ranks as DistributedDataParallel does; or, with ``classes_at_once``, group by group.

    In groups, each rank trains heads of its own on the global batch, so that weights, gradients and moments of no more than
    ``classes_at_once`` heads are worked on at a time, and nothing but features goes between ranks. Each group has the
    trainer's ``max_epochs``, and an optimizer of its own.

    Args:
        explainer: see `ExplainerModule`.
        classes_at_once: heads that a rank trains at once; all together without it.
        kwargs: those of `ExplainerModule`.
    """

    explainer: XFeatureExplainer
    memory_remedy = "set model.init_args.training.classes_at_once to fewer, or take fewer explained_classes"
    """What makes a fit smaller, for a message."""

    def __init__(self, explainer: XFeatureExplainer, classes_at_once: int | None = None, **kwargs: Any) -> None:
        super().__init__(explainer, **kwargs)
        self.classes_at_once = classes_at_once
        self.group = 0
        self.epochs_of_group: int | None = None
        self.size_for_heads()
        if classes_at_once is not None:
            # DistributedDataParallel wants a parameter to look after; the heads are none of its business.
            self.unused = nn.Parameter(torch.zeros(()))

    explained: Tensor
    """(J,) the explained classes."""

    @override
    def size_for_heads(self) -> None:
        classes = list(self.explainer.explained_classes)
        self.groups = ClassGroups(len(classes), len(classes))
        self.register_buffer("explained", torch.tensor(classes, dtype=torch.int64), persistent=False)

    @abstractmethod
    def head_parameters(self, row: int) -> list[nn.Parameter]:
        """The parameters of one head."""

    @property
    def fitted(self) -> nn.Module:
        """What holds all heads that are fitted."""
        return self.explainer

    @property
    def is_grouped(self) -> bool:
        """Whether heads are trained group by group."""
        return self.classes_at_once is not None

    @property
    def across_ranks(self) -> bool:
        """Whether losses are sums over ranks; in groups every rank has the global batch already."""
        return not self.is_grouped

    @property
    def active_rows(self) -> list[int]:
        """Positions of the heads that this rank trains now."""
        return self.groups.rows(self.group)

    @property
    @override
    def scheduled_epochs(self) -> int | None:
        return self.epochs_of_group or super().scheduled_epochs

    @property
    @override
    def epoch_of_schedule(self) -> int:
        return self.trainer.current_epoch - self.group * (self.epochs_of_group or 0)

    # The run

    @override
    def setup(self, stage: str) -> None:
        super().setup(stage)
        if stage == "fit" and self.classes_at_once is not None:
            self._plan(self.classes_at_once)

    def _plan(self, at_once: int) -> None:
        self.groups = ClassGroups(len(self.explained), at_once, global_rank(), world_size())
        epochs = self.trainer.max_epochs
        if epochs is None or epochs < 1:
            raise ValueError(
                "training.classes_at_once needs the epochs of a group; give trainer.max_epochs, 1 or more."
            )
        if self.trainer.max_steps >= 0:
            raise ValueError("training.classes_at_once counts epochs; leave trainer.max_steps out, or classes_at_once.")
        if world_size() > 1 and self.trainer.gradient_clip_val and self.trainer.gradient_clip_algorithm != "value":
            raise ValueError(
                "training.classes_at_once gives each rank heads of its own, whose gradients have no norm in common; set"
                " trainer.gradient_clip_algorithm: value, or leave trainer.gradient_clip_val out."
            )
        self.group = 0
        self.epochs_of_group = epochs
        self.trainer.fit_loop.max_epochs = epochs * self.groups.count
        heads = [name for name, value in self.named_parameters() if value is not self.unused]
        self._ddp_params_and_buffers_to_ignore += heads
        self._train_active_only()

    def _train_active_only(self) -> None:
        active = set(self.active_rows)
        for row in range(len(self.explained)):
            for parameter in self.head_parameters(row):
                parameter.requires_grad_(row in active)
                parameter.grad = None

    @property
    def settings_count(self) -> int:
        """Heads of a class that are fitted at once."""
        return 1

    @override
    def on_fit_start(self) -> None:
        """Says what the fit will take, and refuses what does not fit.

        Raises:
            ValueError: where more memory is needed than is free.
        """
        super().on_fit_start()
        parameters = list(self.fitted.parameters())
        total = sum(value.numel() for value in parameters)
        trained = sum(value.numel() for value in parameters if value.requires_grad)
        in_memory = sum(value.numel() for value in parameters if value.device == self.device)
        needed, free = fit_bytes(0, trained, 0), free_bytes(self.device)
        heads, at_once = (count * self.settings_count for count in (len(self.explained), len(self.groups.rows(0))))
        groups = (
            f" on a rank, in {self.groups.count} groups of {self.epochs_of_group} epochs," if self.is_grouped else ""
        )
        if self.is_grouped or is_verbose():
            rank_zero_info(
                f"{heads} heads with {amount(total)} parameters; {at_once} of them are trained at once{groups or ','}"
                f" which takes {readable_size(fit_bytes(in_memory, trained, 0))} for weights, gradients and Adam's moments"
                + (f" ({readable_size(free)} are free)." if free is not None else ".")
            )
        if free is not None and needed > free:
            raise ValueError(
                f"Training {at_once} heads at once needs {readable_size(needed)} beside their weights, and"
                f" {readable_size(free)} are free; {self.memory_remedy}."
            )

    @override
    def on_train_start(self) -> None:
        super().on_train_start()
        self._begin_group()  # a fit that goes on within an epoch calls no hook at its start

    @override
    def on_train_epoch_start(self) -> None:
        super().on_train_epoch_start()
        self._begin_group()

    def _begin_group(self) -> None:
        """Goes on to the group of the current epoch, if that is another."""
        group = self.trainer.current_epoch // self.epochs_of_group if self.epochs_of_group else 0
        if group != self.group:
            self.share_heads()
            self.group = group
            self._train_active_only()
            self.trainer.strategy.setup_optimizers(self.trainer)
            return_freed_memory()
            rank_zero_info(f"Group {group + 1} of {self.groups.count} begins.")

    def share_heads(self) -> None:
        """Gives all ranks the heads that each of them trained in this group."""
        if not self.is_grouped or world_size() == 1:
            return
        # In the order of the heads on every rank: broadcasts in the order of a set could meet those of other heads.
        for row in sorted(set(self.groups.begun(self.group)) - set(self.groups.begun(self.group - 1))):
            for parameter in self.head_parameters(row):
                dist.broadcast(parameter.data, src=self.groups.owner(row))

    @override
    def on_validation_start(self) -> None:
        self.share_heads()

    @override
    def on_train_end(self) -> None:
        self.share_heads()
        super().on_train_end()

    @override
    def on_fit_end(self) -> None:
        missing = len(self.explained) - len(self.groups.begun(self.group))
        if missing:
            rank_zero_warn(
                f"The fit ended in group {self.group + 1} of {self.groups.count}: {missing} heads are untrained."
            )
        if self.epochs_of_group is not None:  # another fit plans its groups anew
            self.trainer.fit_loop.max_epochs, self.epochs_of_group = self.epochs_of_group, None

    # Checkpoints

    @override
    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        super().on_save_checkpoint(checkpoint)
        checkpoint["plan"] = self._options_of_plan
        if self.is_grouped:
            self.share_heads()  # in place, so that the state dict that stands in the checkpoint has them too
            checkpoint["group"] = self.group
            checkpoint["optimizers_of_ranks"] = gather_over_ranks(checkpoint.get("optimizer_states"))

    @override
    def load_state_dict(self, state_dict: Mapping[str, Any], strict: bool = True, assign: bool = False) -> Any:
        """Takes over heads, whether or not they were trained in groups."""
        state = {name: value for name, value in state_dict.items() if name != "unused"}
        if self.is_grouped:
            state["unused"] = self.unused.detach()
        return super().load_state_dict(state, strict, assign)

    @property
    def _options_of_plan(self) -> dict[str, Any]:
        """What a fit that goes on from a checkpoint must have in common with it, by option; nothing without groups."""
        options = {
            "model.init_args.training.classes_at_once": self.classes_at_once,
            "trainer.max_epochs": self.epochs_of_group,
        }
        return options if self.is_grouped else {}

    def _check_same_plan(self, checkpoint: dict[str, Any]) -> None:
        plan = self._options_of_plan
        saved = {_current_key(key): value for key, value in checkpoint.get("plan", plan).items()}
        if saved != plan:
            needed = saved or {"model.init_args.training.classes_at_once": "null"}
            raise ValueError(
                f"{self.checkpoint_name} is of a fit with other groups of classes; go on from it with"
                f" {', '.join(f'{name}: {value}' for name, value in needed.items())}, or fit anew without --ckpt_path."
            )

    @override
    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        super().on_load_checkpoint(checkpoint)
        if self.is_fitting:
            self._check_same_plan(checkpoint)
        if self.is_grouped and "group" in checkpoint and self.epochs_of_group is not None:
            self.group = checkpoint["group"]
            self._train_active_only()
            self._take_own_optimizer(checkpoint)

    def _take_own_optimizer(self, checkpoint: dict[str, Any]) -> None:
        saved = checkpoint["optimizers_of_ranks"]
        if len(saved) != world_size():
            raise ValueError(
                f"The checkpoint is of {len(saved)} ranks, each with heads of its own; resume it with as many."
            )
        if "optimizer_states" in checkpoint:
            checkpoint["optimizer_states"] = saved[global_rank()]

    # Samples

    def global_samples(self, batch: Batch) -> Samples:
        """The batch for the heads that are trained now; in groups, that of all ranks."""
        features, logits = self.features_of(batch)
        tensors = {"features": features, "logits": logits, "label": batch["label"]}
        if "sampled" in batch:
            tensors["sampled"] = batch["sampled"]
        if self.is_grouped:
            tensors = cat_batches_over_ranks(tensors)
        rows = torch.tensor(self.active_rows, dtype=torch.int64, device=features.device)
        sampled = tensors.get("sampled")
        return Samples(
            tensors["features"],
            tensors["logits"][:, self.explained[rows]],
            self.positives(tensors["label"])[:, rows],
            None if sampled is None else sampled[:, rows],
            tensors["logits"],
        )

    def positives(self, label: Tensor) -> Tensor:
        """(B, J) bool: whether an image is of each explained class, from indices (B,) or multi-hot (B, C)."""
        if label.ndim == 2:
            return label[:, self.explained] != 0
        return label[:, None] == self.explained


def _current_key(key: str) -> str:
    """Today's key of an option in a plan, also of checkpoints written before options stood in groups of their own."""
    return key.replace("init_args.classes_at_once", "init_args.training.classes_at_once")
