"""ExplainerModule: the LightningModule that the modules of all explainers share."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal

import torch
from pytorch_lightning.cli import LRSchedulerCallable, OptimizerCallable
from pytorch_lightning.trainer.states import TrainerFn
from pytorch_lightning.utilities import rank_zero_warn
from torch import Tensor, nn
from torch.optim import Adam
from typing_extensions import override

from lightning_modules.data_classes import (
    check_explained,
    check_same_classes,
    classes_of_network,
    matched,
    translation_of,
)
from lightning_modules.evaluated import EvaluatedModule
from lightning_modules.explained import (
    Explain,
)
from lightning_modules.heads import check_drawable, check_image_size, meaning_of
from lightning_modules.inherited_heads import InheritedHeads
from lightning_modules.moved_features import Movement, earlier_extractor, movement
from lightning_modules.optimization import RANGES, RENAMED_OPTIMIZATION, CosineToZero, check_optimizer
from vitrine.core.batch import Batch
from vitrine.core.distributed import sum_over_ranks
from vitrine.core.options import Count, Range, checked, option_path
from vitrine.data.class_labels import LabelTranslation
from vitrine.data.class_matching import ClassMap, ClassMatch, NetworkClasses
from vitrine.data.contracts import ExplanationData, TrainingData, explanation_data, training_data
from vitrine.data.feature_store import FeatureExtractor
from vitrine.explainers import Explainer
from vitrine.explainers.names import NAMES_NAME, joined
from vitrine.explainers.srae.x_features import XFeatureExplainer
from vitrine.metrics import (
    MetricOptions,
)

EXPORTED = "explainer"
"""Folder of the exported explainer in the run's folder."""


class ExplainerModule(EvaluatedModule):
    """Trains, validates, tests and applies one explainer.

    A subclass gives the losses (``training_step``, ``validation_step``) and the optimizer's groups; what a test measures
    follows from the annotation that the data set declares.

    Args:
        explainer: the frozen backbone with its head.
        optimizer: takes parameter groups to an optimizer.
        lr_scheduler: takes an optimizer to its learning rate schedule; null keeps the rate constant.
        init_from: folder of an exported explainer whose heads are taken over before training, for fine-tuning. Each class
            begins from the head of the class of its name, or, where the network is the very same, of its logit; classes
            without one get heads that are drawn anew.
        init_from_map: from which class of ``init_from`` each one's head begins: names (or indices) of classes, each with a
            name (or index) of the earlier ones, or null for a head that is drawn anew, the rest by name; or ``by_name``;
            ``by_index`` where logits mean the same.
        names: file with a person's names for the heatmaps; ``explainer/names.yaml`` in the run's folder without it, or else
            that of ``init_from``, where there is one.
        class_map: which of the backbone's classes those of the data set are: names (or indices) of the data set's classes,
            each with a name (or index) of the backbone's; or ``by_name``; ``by_index`` where labels are the backbone's as
            they are; ``ignore`` to leave labels out. Without it both have to have the same classes in the same order.

    Raises:
        ValueError: for a learning rate that makes no sense, or heads in ``init_from`` that do not fit.
        FileNotFoundError: where ``init_from`` holds no explainer, or ``names`` does not exist.
    """

    RENAMED: ClassVar[Mapping[str, str]] = RENAMED_OPTIMIZATION
    learning_rates: ClassVar[Range] = RANGES["lr"]
    """What the optimizer's learning rate may be."""
    learned = "heads"

    @checked
    def __init__(
        self,
        explainer: Explainer,
        optimizer: OptimizerCallable = lambda parameters: Adam(parameters, lr=1e-3, fused=True),
        lr_scheduler: LRSchedulerCallable | None = lambda optimizer: CosineToZero(optimizer),  # noqa: PLW0108 - read by jsonargparse
        init_from: str | Path | None = None,
        init_from_map: dict[str, str | int | None] | Literal["by_name", "by_index"] | None = None,
        names: str | Path | None = None,
        class_map: dict[str, str | int] | Literal["by_name", "by_index", "ignore"] | None = None,
        explain: Explain = "predicted",
        top_k: Count = 5,
        metrics: MetricOptions = MetricOptions(),  # noqa: B008 - frozen
    ) -> None:
        super().__init__(explain, top_k, metrics)
        check_optimizer(optimizer, self.learning_rates)
        if names is not None and not Path(names).is_file():
            raise FileNotFoundError(f"names {names} does not exist; give a file of names, or leave the option out.")
        self.explainer = explainer
        self.explains_by_name = getattr(explainer.options, "explained_classes", None) == "by_name"
        self.class_map: ClassMap = "by_name" if class_map is None and self.explains_by_name else class_map
        self.class_match: ClassMatch | None = None
        self.label_translation: LabelTranslation | None = None
        self.names, self.init_from = names, init_from
        self.optimizer, self.lr_scheduler = optimizer, lr_scheduler
        self.inherited = None if init_from is None else InheritedHeads(explainer, Path(init_from), init_from_map)
        if self.inherited is not None:
            explainer.classes = list(self.inherited.config["classes"])
        elif init_from_map is not None:
            raise ValueError("model.init_args.init_from_map needs init_from, the folder of an exported explainer.")
        self.feature_movement: Movement | None = None
        self.is_restored = False
        self.needs_checkpoint = init_from is None
        self.is_fitted = True

    @property
    def is_fitting(self) -> bool:
        """Whether the trainer runs ``fit``, its validation included."""
        return self._trainer is not None and self._trainer.state.fn == TrainerFn.FITTING

    @property
    def training_ends(self) -> bool:
        """Whether the training epoch that is ending is the last of the fit."""
        trainer = self.trainer
        enough_steps = 0 <= trainer.max_steps <= trainer.global_step
        enough_epochs = 0 <= (trainer.max_epochs or 0) <= trainer.current_epoch + 1
        return enough_steps or enough_epochs or trainer.should_stop

    @property
    def feature_extractor(self) -> FeatureExtractor | None:
        """What a datamodule may compute once and keep in place of images; None where images must be streamed."""
        return None if self.chooses_alpha else self.extractor

    @property
    def extractor(self) -> FeatureExtractor | None:
        """What computes the features that heads read; None for an explainer that reads none."""
        return self.explainer.cacheable_features

    @property
    def one_pass(self) -> bool:
        """Whether a datamodule is to give each training sample once, in any order; a subclass that wants it says so."""
        return False

    @property
    def explained_classes(self) -> Sequence[int]:
        """Labels of the data set that have a head to be fitted, for a datamodule that draws samples for each of them."""
        explained = self.explainer.explained_classes
        return explained if self.label_translation is None else self.label_translation.own_labels(explained)

    @override
    def frozen_networks(self) -> Sequence[tuple[str, nn.Module]]:
        network = getattr(getattr(self.explainer, "backbone", None), "model", None)
        return [("explainer.backbone.", network)] if isinstance(network, nn.Module) else []

    @property
    def needs_labels(self) -> bool:
        """Whether a fit cannot do without the labels of images."""
        return True

    @property
    def data(self) -> ExplanationData | None:
        """The datamodule; None where the trainer was given bare loaders."""
        return explanation_data(self.trainer)

    @property
    def training_data(self) -> TrainingData | None:
        """The datamodule with what a fit asks of it; None where the trainer was given bare loaders."""
        return training_data(self.trainer)

    @property
    def names_file(self) -> Path:
        """Where a person writes names for the heatmaps: the option's file, else that of the run's exported explainer."""
        return Path(self.trainer.default_root_dir, EXPORTED, NAMES_NAME) if self.names is None else Path(self.names)

    @override
    def setup(self, stage: str) -> None:
        """Takes over the data set's classes and preprocessing, names, and the metrics that its annotation allows."""
        self.check_data(stage)
        super().setup(stage)
        if self.data is not None:
            self._take_over_data(self.data, stage)
        if self.inherited is not None and stage != "predict":
            self.inherited.match(self.explainer, self.redraw_heads)
        if stage != "validate" or self.chooses_alpha:  # else it draws nothing
            self._check_drawable()
        if stage != "predict":
            self._read_names(fitting=stage == "fit")

    def _check_drawable(self) -> None:
        check_drawable(self.explainer, f"model.init_args.{option_path(type(self), 'image_size').rpartition('.')[0]}")

    def redraw_heads(self) -> None:
        """Draws the explainer's heads anew."""
        self.explainer.redraw_heads()

    @override
    def on_fit_start(self) -> None:
        """Tells what became of the heads of ``init_from``, and how far the features that they read have moved."""
        super().on_fit_start()
        if self.inherited is None or self.is_restored:
            return
        note = "" if self.inherited.same_network else self._told_movement(self.inherited)
        if self.trainer.is_global_zero:
            self.inherited.show(self.explainer, Path(self.trainer.default_root_dir), note)

    def _told_movement(self, inherited: InheritedHeads) -> str:
        """Says that the backbone is another one than that of the heads; a collective."""
        told = f"The backbone has other weights than that on which the heads of {inherited.folder} were trained"
        before = earlier_extractor(inherited.folder, inherited.config, self.explainer.backbone, self.device)
        reason = before if isinstance(before, str) else ""
        if self.extractor is None or self.training_data is None:
            reason = reason or "no images are at hand"
        missing = sum_over_ranks(torch.tensor([float(bool(reason))], device=self.device))  # all measure, or none
        if isinstance(before, str) or self.extractor is None or self.training_data is None or missing.item():
            reason = reason or "another process cannot read the earlier network"
            return f"{told}; how far its features have moved cannot be measured: {reason}."
        batches = map(self.moved, self.training_data.every_image("train"))
        self.feature_movement = movement(before, self.extractor, batches, self.device)
        return f"{told}: {self.feature_movement or 'there are no images to measure by'}."

    def on_predict_start(self) -> None:
        """Names classes and heatmaps only here, as in prediction the classes may come from the checkpoint.

        Raises:
            ValueError: where the heads are those of ``init_from``, and of other classes than the backbone's.
        """
        for explainer in self.every_explainer:
            self._name_classes(explainer)
        if self.inherited is not None and not (
            self.inherited.loaded_for or self.inherited.inheritance or self.is_restored
        ):
            raise ValueError(
                f"model.init_args.init_from {self.inherited.folder} is of other classes than the backbone's logits, and there"
                " is no checkpoint; fit the heads first, or apply them with the backbone that they were trained on."
            )
        self._read_names(fitting=False)

    @property
    def every_explainer(self) -> Sequence[Explainer]:
        """The explainers of the module, which most have one of."""
        return [self.explainer]

    def _name_classes(self, explainer: Explainer) -> None:
        """Gives an explainer whose checkpoint names no classes, or that has none, the names that the network has."""
        network = None if explainer.classes else classes_of_network(explainer, self.data.classes if self.data else ())
        if network is not None:
            explainer.classes = (NetworkClasses(network.count, None) if network.is_assumed else network).names()

    def _read_names(self, *, fitting: bool) -> None:
        counts = self.explainer.heatmap_counts()
        if not counts or not (self.names_file.is_file() or self.inherited):
            return
        try:
            if self.names_file.is_file():
                self.explainer.read_heatmap_names(self.names_file)
            elif self.inherited is not None:
                self.explainer.heatmap_names = joined(self.inherited.names, {}, counts)
        except ValueError as error:
            if not fitting or self.names is not None:
                raise
            rank_zero_warn(f"Heatmaps are shown without names: {error}")  # of other heads, which this run replaces

    def check_data(self, stage: str) -> None:
        """Compares the data set's classes with the backbone's, before anything is computed.

        Raises:
            ValueError: where they do not go together, with what to set.
        """
        self.class_match = self.label_translation = None
        if stage == "predict":
            return
        if self.data is not None:
            self._match_classes(self.data, fitting=stage == "fit")
        elif self.class_map is not None:
            raise ValueError("class_map and explained_classes: by_name need a datamodule, which names its classes.")

    def _match_classes(self, data: ExplanationData, *, fitting: bool) -> None:
        """Compares the data set's classes with the backbone's; from here on `data` has labels of the backbone."""
        known = self.inherited.config["classes"] if self.inherited is not None and self.inherited.same_network else ()
        network = classes_of_network(self.explainer, known)
        if network is not None and (data.classes or self.class_map is not None):
            needed = fitting and self.needs_labels
            every = not self.explains_by_name and len(self.explainer.explained_classes) == network.count
            option = f"{option_path(type(self), 'explained_classes') if every else 'class_map'}: by_name"
            match = matched(data, network, self.class_map, labels_needed=needed, by_name=option)
            self.label_translation = translation_of(data, match, network.count)
            self.class_match = match
            if self.explains_by_name:
                self.explain_classes(sorted(match.indices))
        if fitting and self.needs_labels:
            count = 0 if self.class_match and self.class_match.ignored else len(data.classes)
            check_explained(self.explainer.explained_classes, self.class_match, count)

    def explain_classes(self, classes: Sequence[int]) -> None:
        """Takes these as the explained classes, with heads drawn anew where they are others than before."""
        if isinstance(self.explainer, XFeatureExplainer) and list(classes) != list(self.explainer.explained_classes):
            self.explainer.explain_classes(classes)
            self.size_for_heads()

    def size_for_heads(self) -> None:
        """Makes what has an entry for each head, which a subclass may have."""

    def on_before_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:  # noqa: ARG002
        """Gives batches the backbone's class indices as labels."""
        return batch if self.label_translation is None else self.label_translation.batch(batch)

    def _take_over_data(self, data: ExplanationData, stage: str) -> None:
        self._prepare(self.explainer, data, stage)
        if stage != "predict":
            self.annotation_metrics = nn.ModuleList(self._metrics(data.annotations))

    def _prepare(self, explainer: Explainer, data: ExplanationData, stage: str) -> None:
        """Gives an explainer the data set's preprocessing and classes."""
        explainer.preprocessing = data.preprocessing
        check_image_size(explainer, data.preprocessing, option_path(type(self), "image_size"))
        if stage != "predict":
            # Sets with masks alone have several labels, as they have none, and say nothing of the classifier.
            explainer.multi_label = data.multi_label and bool(data.classes)
            explainer.classes = list(data.classes if self.class_match is None else self.class_match.names)

    @override
    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Keeps the class names, which `predict` shows also where the data set itself is not at hand."""
        super().on_save_checkpoint(checkpoint)
        checkpoint["classes"] = self.explainer.classes
        checkpoint["multi_label"] = self.explainer.multi_label
        checkpoint["meaning_of_heads"] = self.meaning_of_heads()

    @override
    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Takes over the class names, unless they came with a data set.

        Raises:
            ValueError: for heads of something else, whose numbers may fit nevertheless.
        """
        if "meaning_of_heads" not in checkpoint:
            raise ValueError(
                f"{self.checkpoint_name} does not say what its heads are about: it is no checkpoint of a fit of an explainer;"
                " give another --ckpt_path."
            )
        explained = checkpoint["meaning_of_heads"].get("explained_classes")
        if self.explains_by_name and explained and not self.is_fitting:
            self.explain_classes(explained)
        meaning = self.meaning_of_heads()
        for name, value in checkpoint["meaning_of_heads"].items():
            if name in meaning and value != meaning[name]:
                raise ValueError(
                    f"{self.checkpoint_name} was trained with {name}: {value}, not {meaning[name]}; set"
                    f" model.init_args.{option_path(type(self), name)}: {value}, or give another --ckpt_path or"
                    " trainer.default_root_dir."
                )
        super().on_load_checkpoint(checkpoint)
        self.is_restored = True
        saved, count = list(checkpoint.get("classes", ())), getattr(self.explainer, "num_classes", None)
        if saved and count is not None and len(saved) != count:
            raise ValueError(
                f"{self.checkpoint_name} names {len(saved)} classes for a backbone of {count} logits; give another"
                " --ckpt_path."
            )
        if self.class_match is not None and self.class_match.by_number_alone:
            check_same_classes(saved, self.explainer.classes, self.checkpoint_name)
        if not self.explainer.classes:
            self.explainer.classes = saved
            self.explainer.multi_label = checkpoint.get("multi_label", False)

    def meaning_of_heads(self) -> dict[str, Any]:
        """Options that say what the heads are about; a subclass adds its own."""
        return meaning_of(self.explainer.options.to_dict())

    @override
    def load_state_dict(self, state_dict: Mapping[str, Any], strict: bool = True, assign: bool = False) -> Any:
        """Takes over a checkpoint's tensors.

        Raises:
            ValueError: where they are of other heads.
        """
        return super().load_state_dict(self.explainer.with_current_names(state_dict), strict, assign)

    @override
    def parameter_groups(self) -> Iterable[nn.Parameter] | Iterable[dict[str, Any]]:
        return [{"params": list(self.explainer.parameters())}]

    def features_of(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """(B, d) features and (B, C) logits: those kept from an earlier pass, else computed from the images.

        In the last batch of an epoch B may be 0, on a rank for which no sample is left.
        """
        features, logits = self._features_of(batch)
        self.watch({"features": features, "logits": logits})
        return features, logits

    def _features_of(self, batch: Batch) -> tuple[Tensor, Tensor]:
        if "features" in batch:
            return batch["features"], batch["logits"]
        extractor = self.extractor
        if extractor is None:
            raise ValueError(f"{type(self.explainer).__name__} reads no features; stream images instead.")
        images = batch["image"]
        with torch.no_grad():  # networks that reshape do not take empty batches
            computed = extractor(images if len(images) else images.new_zeros(1, *images.shape[1:]))
        return computed["features"][: len(images)], computed["logits"][: len(images)]

    def export(self, folder: Path) -> Path:
        """Writes the explainer for use elsewhere; `vitrine.load` reads it. Returns where it stands."""
        self.check_values("when it was to be exported", across_ranks=False)
        self._read_names(fitting=True)  # they may have been written while the run went on
        self.explainer.save(folder / EXPORTED, metadata=self.metadata())
        return folder / EXPORTED

    def check_export(self, folder: Path) -> None:
        """Refuses, before a training, a folder in which `export` would replace what it did not write."""
        self.explainer.check_saveable(folder / EXPORTED)

    def metadata(self) -> dict[str, Any]:
        """Figures of the training run that go into the exported explainer."""
        origin = {} if self.inherited is None else self.inherited.metadata()
        if self.feature_movement is not None:
            origin["feature_movement"] = self.feature_movement._asdict()
        return {"epochs": self.trainer.current_epoch, **origin}
