"""Explainer: the base of all explainers, which explain, attribute, and are saved."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar, cast, overload

import torch
from torch import Tensor, nn

from vitrine.attribution.captum_arguments import Inputs, in_callers_form, plain_target, single_tensor
from vitrine.attribution.targets import Indices, index_tensor
from vitrine.backbones.batch_mixing import mixes_batch
from vitrine.backbones.frozen import FrozenBackbone
from vitrine.backbones.image_sizes import blank_image
from vitrine.backbones.model_locks import model_lock
from vitrine.core.explained_pictures import ExplainedPictures
from vitrine.core.explanation import Explanation
from vitrine.core.folder_manifest import check_replaceable
from vitrine.core.heatmap_texts import HeatmapTexts
from vitrine.core.image_inputs import check_images, run_errors_named
from vitrine.core.options import Options
from vitrine.core.tensor_checks import check_tensors
from vitrine.data.feature_store import FeatureExtractor
from vitrine.data.preprocessing import Preprocessing
from vitrine.explainers.inheritance import taken_rows
from vitrine.explainers.names import Names, read_names
from vitrine.explainers.picture_inputs import Pictures, PreparedPictures, are_pictures, class_indices
from vitrine.explainers.saving import SAVED, class_path, save_explainer

Target = Indices | None
"""A class for all images, one an image, or None for the predicted ones."""


class Explainer(nn.Module, ABC):
    """A frozen backbone with a learnable head that shows what the backbone looks at.

    A subclass declares its options in a dataclass that inherits `Options`, names it as ``options_type``, and takes one as
    its constructor's second argument, so that a saved folder can build it again. What its heatmaps and scores mean it
    declares as ``texts``, which reports show. It is registered by module and class name
    when it is defined.

    Args:
        backbone: the frozen classifier.
        options: those of the subclass, of the type that ``options_type`` names.
        classes: names of the backbone's logits; ``class 0`` and so on without them.
        preprocessing: how images are prepared for the backbone, kept so that they can be prepared elsewhere.

    Raises:
        ValueError: for options of another type; and where a second class of the same module and name is defined.

    Example:
        >>> from torch import nn
        >>> class ChannelMeans(Explainer):
        ...     def explain_batch(self, images, target):
        ...         logits = self.backbone(images).logits
        ...         classes = target_classes(target, logits.argmax(dim=1), logits.shape[1])
        ...         labels = [["mean"]] * len(images)
        ...         heatmaps = images.mean(dim=1, keepdim=True)
        ...         scores = heatmaps.mean(dim=(2, 3))
        ...         return Explanation(heatmaps, scores, labels, logits.argmax(dim=1), classes, logits)
        >>> model = nn.Sequential(nn.Flatten(), nn.Linear(3 * 8 * 8, 2))
        >>> explainer = ChannelMeans(FrozenBackbone(model), classes=["ant", "bee"])
        >>> explainer.attribute(torch.rand(4, 3, 8, 8), target=1).shape
        torch.Size([4, 1, 8, 8])
    """

    options_type: ClassVar[type[Options]] = Options
    texts: ClassVar[HeatmapTexts] = HeatmapTexts()
    """What pages say of its heatmaps and scores."""
    explained_classes: Sequence[int] = ()
    """The classes that have a head of their own, of an explainer with heads per class."""
    registered: ClassVar[dict[str, type["Explainer"]]] = {}
    """Every subclass that was defined, by ``module:ClassName``."""

    def __init__(
        self,
        backbone: FrozenBackbone,
        options: Options | None = None,
        classes: Sequence[str] | None = None,
        preprocessing: Preprocessing | None = None,
    ) -> None:
        super().__init__()
        if not isinstance(options or self.options_type(), self.options_type):
            raise ValueError(
                f"options of {type(self).__name__} are {options!r}; give them as {self.options_type.__name__}(…)."
            )
        self.backbone = backbone
        self.options = options or self.options_type()
        self.classes = list(classes or ())
        self.preprocessing = preprocessing
        self.multi_label = False
        """Whether an image may have several classes, so that each logit has a probability of its own."""
        self.heatmap_names: Names = {}
        """By class name, the names that a person gave to the class's heatmaps; empty where one has none yet."""

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        path = class_path(cls)
        if path in Explainer.registered and cls.__module__ != "__main__":  # cells of a notebook run again
            raise ValueError(f"There is an explainer {path} already; give the second one another name.")
        Explainer.registered[path] = cls

    def explain(
        self,
        images: Tensor | Pictures,
        target: Target | str | Sequence[str] = None,
        *,
        internal_batch_size: int = 16,
    ) -> Explanation:
        """Heatmaps and contributions for a batch.

        Args:
            images: (B, 3, H, W) as the backbone takes them; or pictures of any size, one or a list: paths, PIL images, or
                uint8 arrays (H, W, 3), which the explainer's own preprocessing prepares.
            target: the class to explain, one for all or one an image, by its index or name; the backbone's prediction
                without it.
            internal_batch_size: images that are explained at once; a bound on memory that changes no result.

        Returns:
            The explanation; of pictures it carries them, so that it can be saved and shown as it is.

        Raises:
            ValueError: for a class that this explainer cannot explain, an empty batch, or what is no picture; and for
                pictures where the explainer has no preprocessing.
            FileNotFoundError: where a picture is not there.
        """
        if are_pictures(images):
            return self._of_pictures(cast(Pictures, images), target, internal_batch_size)
        check_images(images, finite=True)
        inputs = cast(Tensor, images)
        if not len(inputs):
            raise ValueError("There are no images to explain; give a batch of at least one.")
        if mixes_batch(self.backbone.model, inputs):
            internal_batch_size = 1
        indices = class_indices(target, self.classes)
        if not (isinstance(indices, Tensor) and indices.shape == (len(inputs),)):
            indices = plain_target(indices, None, lambda: 1)
        parts = torch.split(inputs, internal_batch_size)
        # Hooks of other threads would mix their images with these.
        with model_lock(self.backbone.model), run_errors_named(type(self).__name__, inputs):
            explanations = [
                self.explain_batch(part, _part_of(indices, len(inputs), slice(start, start + len(part))))
                for start, part in zip(range(0, len(inputs), internal_batch_size), parts, strict=True)
            ]
        return replace(Explanation.cat(explanations), multi_label=self.multi_label)

    def _of_pictures(self, given: Pictures, target: Any, internal_batch_size: int) -> Explanation:
        prepared = PreparedPictures(given, self.preprocessing)
        inputs = prepared.inputs.to(blank_image(self.backbone.model, 1))
        explanation = self.explain(inputs, target, internal_batch_size=internal_batch_size)
        texts, classes = self.heatmap_texts(), tuple(self.classes)
        pictures = ExplainedPictures(prepared.images, prepared.names, self.preprocessing, classes, texts)
        return replace(explanation, pictures=pictures)

    @abstractmethod
    def explain_batch(self, images: Tensor, target: Target) -> Explanation:
        """What `explain` gives, for a batch that is small enough."""

    @property
    def cacheable_features(self) -> FeatureExtractor | None:
        """The features that the head is fitted on, where they can be computed once and kept; None where not."""
        return None

    def heatmap_texts(self) -> HeatmapTexts:
        """What pages and panels say of the heatmaps: ``texts``, unless they depend on the options."""
        return self.texts

    @overload
    def attribute(
        self,
        inputs: Tensor,
        target: Target = None,
        *,
        input_shaped: bool = False,
        additional_forward_args: None = None,
    ) -> Tensor: ...

    @overload
    def attribute(
        self,
        inputs: tuple[Tensor, ...],
        target: Target = None,
        *,
        input_shaped: bool = False,
        additional_forward_args: None = None,
    ) -> tuple[Tensor, ...]: ...

    def attribute(
        self,
        inputs: Inputs,
        target: Target = None,
        *,
        input_shaped: bool = False,
        additional_forward_args: None = None,
    ) -> Tensor | tuple[Tensor, ...]:
        """One map an image, as Captum's ``attribute`` and metrics have it.

        Args:
            inputs: (B, 3, H, W) as the backbone takes them, or a tuple of one such tensor.
            target: as in `explain`.
            input_shaped: whether the map is repeated for each channel of the input.
            additional_forward_args: None; there for those who pass on Captum's arguments.

        Returns:
            (B, 1, H, W): the heatmaps' sum, weighted by their positive contributions (`Explanation.aggregate`);
            (B, 3, H, W) with ``input_shaped``; in a tuple where the inputs were in one.
        """
        images = single_tensor(inputs, additional_forward_args)
        maps = self.explain(images, target).aggregate()
        returned: Tensor | tuple[Tensor, ...] = in_callers_form(maps, inputs, input_shaped=input_shaped)
        return returned

    def class_name(self, index: int) -> str:
        """Name of a logit."""
        return self.classes[index] if index < len(self.classes) else f"class {index}"

    def heatmap_counts(self) -> dict[str, int]:
        """Number of heatmaps of each explained class, by class name, where a heatmap means the same in every image.

        Such heatmaps can be named by a person; an explainer without them, as here by default, has no file of names.
        """
        return {}

    def heatmap_numbers(self, class_index: int) -> list[int]:
        """The numbers, from 0 as names have them, of the heatmaps that `explain` shows of a class, in their order.

        All of them by default; an explainer that leaves some out says here which it shows.
        """
        return list(range(self.heatmap_counts().get(self.class_name(class_index), 0)))

    def heatmap_name(self, class_index: int, number: int, default: str) -> str:
        """The name that a person gave to a heatmap of a class, ``number`` 0 being its first; the default without one."""
        names = self.heatmap_names.get(self.class_name(class_index), [])
        return (names[number] if number < len(names) else "") or default

    def read_heatmap_names(self, path: Path) -> None:
        """Takes over the names that a person wrote; those of an earlier file are forgotten.

        Raises:
            FileNotFoundError: where there is no such file.
            ValueError: where it does not fit the classes and heatmaps of this explainer.
        """
        self.heatmap_names = read_names(path, self.heatmap_counts())

    def save(
        self, folder: str | Path, *, bundle_backbone: bool | None = None, metadata: dict[str, Any] | None = None
    ) -> None:
        """Writes ``explainer.json`` and ``explainer.safetensors``; an earlier explainer there is replaced as a whole.

        Beside them stands a model card, ``README.md``, unless there is such a page of somebody's own; a card that a person
        changed stands in the way, as any changed file does.
        Where heatmaps can be named, ``names.yaml`` is the file to do so. Names that a person wrote into the replaced folder
        are carried over; where some do not fit any more, their file is kept as ``names.yaml.old``, with a warning. So are
        files of others.

        Args:
            folder: where to.
            bundle_backbone: whether the backbone's weights go in too, as ``backbone.safetensors``. Without it they do
                unless they stand in a public table, where their name is enough to get them again.
            metadata: further JSON entries, such as figures of the training run.

        Raises:
            ValueError: for heads that are NaN or infinite.
            FileExistsError: where ``folder`` holds what would be lost, see `check_saveable`.
        """
        save_explainer(self, Path(folder), bundle_backbone=bundle_backbone, metadata=metadata or {})

    @staticmethod
    def check_saveable(folder: str | Path) -> None:
        """Checks, before a training, that an explainer can be saved in a folder.

        Raises:
            FileExistsError: where the folder holds other than an explainer, or a file of it was changed since it was saved.
        """
        check_replaceable(Path(folder), SAVED)

    renamed_tensors: ClassVar[Mapping[str, str]] = {}
    """Earlier last names of tensors, as they stand in files saved earlier, and today's."""

    def with_current_names(self, state: Mapping[str, Any]) -> dict[str, Any]:
        """A state dict whose entries have today's names."""
        parts = {name: name.rpartition(".") for name in state}
        return {
            f"{path}{dot}{self.renamed_tensors.get(last, last)}": state[name]
            for name, (path, dot, last) in parts.items()
        }

    @property
    def head_classes(self) -> Sequence[int]:
        """The classes with an entry of their own among the learned tensors, in the order of the entries; none by default."""
        return self.explained_classes

    @property
    def class_axes(self) -> Mapping[str, int]:
        """By name, the axis along which a learned tensor has an entry, or a block of them, for each of `head_classes`."""
        return {}

    def redraw_heads(self) -> None:
        """Begins anew with the tensors that have entries of classes; a subclass with such says how."""

    def inherit_heads(self, state: Mapping[str, Tensor], rows: Sequence[int | None]) -> None:
        """Takes over the learned tensors of an explainer of other classes.

        Args:
            state: its `head_state`.
            rows: for each of `head_classes`, the place of its entries in ``state``; None where they stay as they are.

        Raises:
            ValueError: where they belong to another kind or size of head, or are NaN, infinite or of another type.
        """
        self.load_head_state(self.inherited_state(self.with_current_names(state), rows))

    def inherited_state(self, state: Mapping[str, Tensor], rows: Sequence[int | None]) -> dict[str, Tensor]:
        """The `head_state` that `inherit_heads` takes over."""
        own, axes = self.head_state(), self.class_axes
        return {
            name: taken_rows(own[name], saved, axes[name], rows, name) if name in axes and name in own else saved
            for name, saved in state.items()
        }

    def head_state(self) -> dict[str, Tensor]:
        """The learned tensors, without the backbone."""
        return {name: value.cpu() for name, value in self.state_dict().items() if isinstance(value, Tensor)}

    def load_head_state(self, state: dict[str, Tensor]) -> None:
        """Takes over learned tensors.

        Raises:
            ValueError: where they belong to another kind or size of head, or are NaN, infinite or of another type.
        """
        state = self.with_current_names(state)
        heads = self.head_state()
        differing = sorted(set(heads) ^ set(state)) + [
            k for k in heads if k in state and heads[k].shape != state[k].shape
        ]
        if differing:
            raise ValueError(f"The saved heads do not fit this {type(self).__name__}: {differing[0]!r} differs.")
        buffers = {name for name, _ in self.named_buffers()}
        check_tensors(state, heads, f"The saved heads of this {type(self).__name__} are damaged", buffers)
        self.load_state_dict(state, strict=False)


def _part_of(target: Target, batch: int, part: slice) -> Target:
    """The targets of a part of the batch."""
    if target is None:
        return None
    indices = index_tensor(target, batch, "target", several=False)
    return indices[part] if indices.ndim else indices


def target_classes(target: Target, prediction: Tensor, num_classes: int) -> Tensor:
    """(B,) int64 classes to explain, from what a caller gave.

    Raises:
        ValueError: where one is no class.
    """
    if target is None:
        return prediction
    classes = index_tensor(target, len(prediction), "target", several=False).to(prediction.device)
    classes = classes.expand(len(prediction))
    if classes.numel() and not 0 <= int(classes.min()) <= int(classes.max()) < num_classes:
        raise ValueError(f"target {target} is outside the classes 0 to {num_classes - 1}.")
    return classes
