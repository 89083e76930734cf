"""Draws what the filters that each class rests on look for."""

import difflib
import json
import math
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, Literal, get_args

import pytorch_lightning as pl
from pytorch_lightning.utilities import rank_zero_warn
from typing_extensions import override

from callbacks.heatmaps import send_to, untouched
from callbacks.predictions import slug
from callbacks.relevance import relevant_filters, selecting_explainer
from callbacks.run_access import class_names, datamodule_of
from vitrine.core.atomic_io import atomic_folder
from vitrine.core.batch import Batch
from vitrine.core.progress import progress_bar
from vitrine.filters.average_images import AverageImage, average_images
from vitrine.filters.maxima import RankBy, TargetFilter
from vitrine.filters.relevance import RelevantFilter, record
from vitrine.visualization.contact_sheet import average_sheet

FOLDER, INDEX = "average_images", "average_images.json"
Split = Literal["train", "test"]
Pair = tuple[RelevantFilter, AverageImage]


class AverageImages(pl.Callback):
    """Writes ``average_images/``: for each class a picture of its most relevant features (section 4.1 of Oramas et al.).

    A feature's row shows the mean of the image patches on which the filter responds most, of its upsampled activation, of
    deconvnet with guided backprop, and of the paper's heatmap; `vitrine.filters.average_images` says how. The images
    stream by twice, shared out over all ranks; rank zero draws. ``average_images.json`` lists, for each row, the images. An
    earlier folder is replaced as a whole. W&B and TensorBoard, where such a logger is in use, get the pictures too.

    Args:
        top: Images that are averaged, those of highest response.
        features_per_class: Features drawn of each class, the most relevant.
        classes: Names of the classes to draw; the first ``max_classes`` of all without it.
        max_classes: At most so many classes.
        of_class: Averages images of the class alone; of any class otherwise.
        split: ``train`` takes the training images when fitting ends, without those held out for validation; ``test`` the
            test images after a test.
        rank_by: Which images are those of highest response: ``response`` or ``maximum``, see `average_images`.
        side: Side of an average image in pixels at most.

    Raises:
        ValueError: For a number below 1 or an unknown word; before the run starts, for an explainer that selects no
            filters, or an unknown class.
    """

    def __init__(
        self,
        top: int = 100,
        features_per_class: int = 5,
        classes: Sequence[str] | None = None,
        max_classes: int = 20,
        of_class: bool = False,
        split: Split = "train",
        rank_by: RankBy = "response",
        side: int = 96,
    ) -> None:
        super().__init__()
        numbers = {"top": top, "features_per_class": features_per_class, "max_classes": max_classes, "side": side}
        for option, value in numbers.items():
            if value < 1:
                raise ValueError(f"AverageImages: {option} must be at least 1, got {value}.")
        for option, word, known in (("split", split, Split), ("rank_by", rank_by, RankBy)):
            if word not in get_args(known):
                raise ValueError(
                    f"AverageImages: {option} {word!r} is unknown; choose one of {', '.join(get_args(known))}."
                )
        self.top, self.features_per_class, self.side = top, features_per_class, side
        self.classes = None if classes is None else list(classes)
        self.max_classes, self.of_class, self.split = max_classes, of_class, split
        self.rank_by = rank_by

    @override
    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Finds what is wrong before the run rather than after it."""
        self._check(trainer, pl_module)

    @override
    def on_test_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Finds what is wrong before the run rather than after it."""
        self._check(trainer, pl_module)

    @override
    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Draws training images; the module is still on its device here, as it is not when fitting has ended."""
        if self.split == "train":
            self._leave(trainer, pl_module)

    @override
    def on_test_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Draws test images."""
        if self.split == "test":
            self._leave(trainer, pl_module)

    def _check(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        selecting_explainer(pl_module, self)
        chosen_classes(class_names(trainer, pl_module, self), self.classes, self.max_classes)

    def _leave(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        names = class_names(trainer, pl_module, self)
        chosen = set(chosen_classes(names, self.classes, self.max_classes))
        rows = relevant_filters(trainer, pl_module, self)
        wanted = [row for row in rows if row.class_index in chosen and row.rank <= self.features_per_class]
        if not wanted:
            rank_zero_warn(
                "AverageImages: no filter is relevant for the chosen classes, so that there is nothing to draw."
            )
            return
        with untouched(pl_module):
            pairs = self._averages(trainer, pl_module, wanted)
        if trainer.is_global_zero:
            self._write(trainer, pairs)

    def _averages(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, rows: Sequence[RelevantFilter]
    ) -> list[Pair]:
        """The rows with their average images; a filter that several classes want is averaged once."""
        wanted = {row: self._wanted(row) for row in rows}
        datamodule, responses = datamodule_of(trainer, self), selecting_explainer(pl_module, self).responses
        shape = tuple(datamodule.panel(1)["image"].shape[1:])
        passes = 2 * math.ceil(int(datamodule.rows_of(self.split).sum()) / trainer.world_size)
        with progress_bar("Average images", passes, shown=trainer.is_global_zero) as advance:
            averages = average_images(
                self._stream(trainer),
                responses,
                list(dict.fromkeys(wanted.values())),
                shape,
                top_k=self.top,
                rank_by=self.rank_by,
                side=self.side,
                device=pl_module.device,
                advance=advance,
            )
        of_filter = {average.target: average for average in averages}
        return [(row, of_filter[filter_]) for row, filter_ in wanted.items() if filter_ in of_filter]

    def _wanted(self, row: RelevantFilter) -> TargetFilter:
        return TargetFilter(row.layer, row.filter, row.class_index if self.of_class else None)

    def _stream(self, trainer: pl.Trainer) -> Callable[[], Iterable[Batch]]:
        datamodule, precision = datamodule_of(trainer, self), trainer.precision_plugin

        def stream() -> Iterable[Batch]:
            for batch in datamodule.every_image(self.split):
                batch["image"] = precision.convert_input(batch["image"])
                yield batch

        return stream

    def _write(self, trainer: pl.Trainer, pairs: Sequence[Pair]) -> None:
        denormalize = datamodule_of(trainer, self).preprocessing.denormalize
        with atomic_folder(Path(trainer.default_root_dir) / FOLDER, marker=INDEX) as folder:
            for index in dict.fromkeys(row.class_index for row, _ in pairs):
                of_class = [pair for pair in pairs if pair[0].class_index == index]
                name = of_class[0][0].class_name
                sheet = average_sheet(
                    [average for _, average in of_class], [row.label for row, _ in of_class], denormalize
                )
                sheet.save(folder / f"{index:03d}_{slug(name)}.png")
                for logger in trainer.loggers:
                    send_to(logger, f"average_images/{name}", sheet, trainer.global_step)
            text = json.dumps([entry(*pair) for pair in pairs], indent=2, ensure_ascii=False)
            (folder / INDEX).write_text(f"{text}\n", encoding="utf-8")


def chosen_classes(names: Sequence[str], wanted: Sequence[str] | None, most: int) -> list[int]:
    """Indices of the classes to draw.

    Raises:
        ValueError: For a name that no class has.
    """
    for name in wanted or ():
        if name not in names:
            near = difflib.get_close_matches(name, names, n=5, cutoff=0.3) or list(names[:5])
            raise ValueError(f"AverageImages: there is no class {name!r}; near names: {', '.join(near)}.")
    chosen = [names.index(name) for name in wanted] if wanted is not None else list(range(len(names)))
    return chosen[:most]


def entry(row: RelevantFilter, average: AverageImage) -> dict[str, Any]:
    """What ``average_images.json`` says of a row, with the images that went into it."""
    images = [{"key": image.key, "response": image.response, "location": image.location} for image in average.images]
    return {**record(row), "images": images}
