"""ClassifierModule: trains or fine-tunes the classifier that is to be explained."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal

import torch
from pytorch_lightning.cli import LRSchedulerCallable, OptimizerCallable
from pytorch_lightning.trainer.states import TrainerFn
from pytorch_lightning.utilities import rank_zero_info
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim import AdamW
from torchmetrics import MetricCollection
from torchmetrics.classification import (
    MulticlassAccuracy,
    MultilabelAccuracy,
    MultilabelAveragePrecision,
)
from typing_extensions import override

from lightning_modules.data_classes import check_classes, check_same_classes
from lightning_modules.metric_states import computed, was_updated
from lightning_modules.optimization import RENAMED_OPTIMIZATION, CosineToZero, check_optimizer
from lightning_modules.resumable import ResumableModule
from vitrine.backbones.classifier_layer import classifier_layer, replace_classifier
from vitrine.backbones.networks import BackboneOptions, build_network
from vitrine.backbones.weight_files import PREPROCESSING
from vitrine.core.atomic_io import atomic_file
from vitrine.core.batch import Batch
from vitrine.core.distributed import share_of_mean, sum_over_ranks, world_size
from vitrine.core.options import Share, checked
from vitrine.core.probabilities import class_probabilities
from vitrine.data.contracts import explanation_data
from vitrine.data.preprocessing import Preprocessing

WEIGHTS_NAME = "classifier.safetensors"


class ClassifierModule(ResumableModule):
    """A network with one logit a class, under cross entropy (one label an image) or binary cross entropy (several).

    The last layer is replaced where the data set has another number of classes than the weights. After fitting, the run's
    folder holds ``classifier.safetensors``, which is a backbone's ``weights``.

    Args:
        backbone: the network and the weights to start from; random ones without weights.
        trainable: ``all`` parameters, or the ``last_layer`` alone.
        freeze_batch_norm: whether batch norms keep their running statistics while all is trained; right for fine-tuning,
            and needed for weights whose batch norms were folded away.
        label_smoothing: of the cross entropy.
        optimizer: takes parameters to an optimizer.
        lr_scheduler: takes an optimizer to its learning rate schedule; null keeps the rate constant.

    Raises:
        ValueError: for a number out of range.
    """

    RENAMED: ClassVar[Mapping[str, str]] = RENAMED_OPTIMIZATION
    shows_means = True

    @checked
    def __init__(
        self,
        backbone: BackboneOptions,
        trainable: Literal["all", "last_layer"] = "all",
        freeze_batch_norm: bool = False,
        label_smoothing: Share = 0.0,
        optimizer: OptimizerCallable = lambda parameters: AdamW(parameters, lr=1e-3, weight_decay=1e-4),
        lr_scheduler: LRSchedulerCallable | None = lambda optimizer: CosineToZero(optimizer),  # noqa: PLW0108 - read by jsonargparse
    ) -> None:
        super().__init__()
        self.backbone = backbone
        self.network = build_network(backbone.name, backbone.weights, backbone.num_classes, backbone.arguments)
        self.needs_checkpoint = backbone.weights is None
        self.is_fitted = True
        self.trainable = trainable
        self.freeze_batch_norm = freeze_batch_norm
        self.label_smoothing = label_smoothing
        check_optimizer(optimizer)
        self.optimizer, self.lr_scheduler = optimizer, lr_scheduler
        self.classes: list[str] = []
        self.preprocessing: Preprocessing | None = None
        self.multi_label = False
        self.metrics = nn.ModuleDict()
        self._other_classes: ValueError | None = None

    @override
    def setup(self, stage: str) -> None:
        """Fits the last layer and the metrics to the data set's classes.

        Raises:
            ValueError: where the trainer was given loaders alone.
        """
        data = explanation_data(self.trainer)
        if data is None:
            raise ValueError(
                "ClassifierModule takes its classes from a datamodule; pass datamodule=… to the trainer, not loaders."
            )
        self._other_classes = self._difference_of(data.classes) if stage in {"test", "validate", "fit"} else None
        self.classes, self.multi_label = list(data.classes), data.multi_label
        self.preprocessing = data.preprocessing
        name = classifier_layer(self.network)
        before = self.network.get_submodule(name)
        replace_classifier(self.network, len(self.classes))
        is_kept = before is self.network.get_submodule(name)
        if stage == "fit" and self._other_classes is not None and self.backbone.weights is not None and is_kept:
            told, _, _ = str(self._other_classes).partition("; ")
            rank_zero_info(f"{told}: the fit begins from weights of other classes, and learns those of the data set.")
        if self.trainable == "last_layer":
            self.network.requires_grad_(requires_grad=False)
            self.network.get_submodule(classifier_layer(self.network)).requires_grad_()
        metrics = _classification_metrics(len(self.classes), multi_label=self.multi_label)
        self.metrics = nn.ModuleDict({part: metrics.clone(prefix=f"{part}/") for part in ("val", "test")})
        super().setup(stage)

    def _difference_of(self, classes: Sequence[str]) -> ValueError | None:
        """What is wrong with measuring the weights as they are on these classes; None where nothing is."""
        try:
            check_classes(classes, self.backbone, self.network)
        except ValueError as error:
            return error
        return None

    def _check_weights_fit(self) -> None:
        """Refuses to measure weights as they are on classes that they were not trained on.

        Raises:
            ValueError: where no checkpoint was loaded, and the classes differ.
        """
        is_fitting = self.trainer.state.fn == TrainerFn.FITTING
        if self._other_classes is not None and self.trainer.ckpt_path is None and not is_fitting:
            raise self._other_classes

    @override
    def on_test_start(self) -> None:
        self._check_weights_fit()  # whether there is a checkpoint, the trainer says only once it is loaded

    def train(self, mode: bool = True) -> "ClassifierModule":
        """Leaves what is not trained in eval mode, so that its statistics and dropout stand still."""
        super().train(mode)
        if self.trainable == "last_layer":
            self.network.eval()
        elif self.freeze_batch_norm:
            for module in self._batch_norms():
                module.eval()
        return self

    def forward(self, images: Tensor) -> Tensor:
        """(B, C) logits of (B, 3, H, W) images; auxiliary outputs are left out."""
        output = self.network(images)
        return output if isinstance(output, Tensor) else output[0]

    def loss(self, logits: Tensor, label: Tensor) -> Tensor:
        """Cross entropy for indices (B,), binary cross entropy for multi-hot (B, C)."""
        if self.multi_label:
            return F.binary_cross_entropy_with_logits(logits, label.float())
        return F.cross_entropy(logits, label, label_smoothing=self.label_smoothing)

    def training_step(self, batch: Batch) -> Tensor:
        """The loss of one batch: this rank's part of the mean over the global batch, of which it may have none."""
        images, label = batch["image"], batch["label"]
        share = share_of_mean(label) * len(label)
        if len(images):
            loss = self.loss(self(images), label)
        else:  # networks do not take empty batches, and DistributedDataParallel waits for each parameter
            loss = torch.stack([value.flatten()[0] * 0 for value in self.parameter_groups()]).sum()
        self.log_means({"train/loss": loss.detach()}, len(label))
        return loss * share

    def validation_step(self, batch: Batch) -> None:
        """Accuracy over the validation images."""
        self._evaluate(batch, "val")

    def test_step(self, batch: Batch) -> None:
        """Accuracy over the test images."""
        self._evaluate(batch, "test")

    def predict_step(self, batch: Batch) -> Tensor:
        """(B, C) probabilities: softmax, or a sigmoid for each label."""
        logits: Tensor = self(batch["image"])
        return class_probabilities(logits, multi_label=self.multi_label)

    def _evaluate(self, batch: Batch, part: str) -> None:
        metrics = self.metrics[part]
        if isinstance(metrics, MetricCollection):
            metrics.update(self(batch["image"]), batch["label"].int())

    @override
    def on_validation_start(self) -> None:
        self._check_weights_fit()
        self.average_running_statistics()

    @override
    def on_validation_epoch_end(self) -> None:
        self._log("val")

    @override
    def on_test_epoch_end(self) -> None:
        self._log("test")

    def _log(self, part: str) -> None:
        """Logs at the epoch's end, on all ranks, also those that had no batch to log it in."""
        metrics = self.metrics[part]
        if isinstance(metrics, MetricCollection):
            if was_updated(metrics):
                self.log_dict(computed(metrics), prog_bar=True, rank_zero_only=True)
            metrics.reset()

    @override
    def parameter_groups(self) -> list[nn.Parameter]:
        return [parameter for parameter in self.network.parameters() if parameter.requires_grad]

    @override
    def on_train_epoch_end(self) -> None:
        super().on_train_epoch_end()
        self.average_running_statistics()

    @override
    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        super().on_save_checkpoint(checkpoint)
        checkpoint["classes"] = self.classes
        self.average_running_statistics()  # in place, so that the state dict that stands in the checkpoint has them too

    @override
    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        super().on_load_checkpoint(checkpoint)
        saved = list(checkpoint.get("classes", ()))
        if self.trainer.state.fn != TrainerFn.PREDICTING:
            check_same_classes(saved, self.classes, self.checkpoint_name)
        self.classes = saved or self.classes

    @torch.no_grad()
    def average_running_statistics(self) -> None:
        """Gives all ranks the mean of the running statistics that batch norms have seen on each of them; a collective.

        They are means over batches, so that the mean over ranks is that of all samples.
        """
        if world_size() == 1 or self.trainable == "last_layer" or self.freeze_batch_norm:
            return
        for module in self._batch_norms():
            for statistic in (module.running_mean, module.running_var):
                if statistic is not None:
                    statistic.copy_(sum_over_ranks(statistic) / world_size())

    def _batch_norms(self) -> Iterable[nn.modules.batchnorm._BatchNorm]:
        kind = nn.modules.batchnorm._BatchNorm  # noqa: SLF001 - the base of all of them
        return (module for module in self.network.modules() if isinstance(module, kind))

    def check_export(self, folder: Path) -> None:
        """Refuses, before a training, a folder in which `export` could not write its file."""
        if (folder / WEIGHTS_NAME).is_dir():
            raise FileExistsError(f"{folder / WEIGHTS_NAME} is a folder where weights are to be written: move it.")

    def export(self, folder: Path) -> Path:
        """Writes the network's state dict, with its name, classes and preprocessing as metadata. Returns the file."""
        self.check_values("when it was to be exported", across_ranks=False)
        path = folder / WEIGHTS_NAME
        state = {name: value.detach().cpu().contiguous() for name, value in self.network.state_dict().items()}
        metadata = {
            "name": self.backbone.name,
            "num_classes": str(len(self.classes)),
            "classes": "\n".join(self.classes),
        }
        if self.preprocessing is not None:
            metadata[PREPROCESSING] = self.preprocessing.key
        with atomic_file(path) as partial:
            save_file(state, partial, metadata=metadata)
        return path


def _classification_metrics(num_classes: int, *, multi_label: bool) -> MetricCollection:
    if multi_label:
        return MetricCollection(
            {
                "accuracy": MultilabelAccuracy(num_classes),
                "mean_average_precision": MultilabelAveragePrecision(num_classes),
            },
            compute_groups=False,
        )
    return MetricCollection(
        {
            "accuracy": MulticlassAccuracy(num_classes, average="micro"),
            "mean_class_accuracy": MulticlassAccuracy(num_classes, average="macro"),
        },
        compute_groups=False,  # groups are formed by the first batch, which a rank may not have
    )
