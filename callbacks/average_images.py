"""AverageImages: draws what the filters that each class rests on respond to."""

import json
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, ClassVar, Literal

import pytorch_lightning as pl
from pytorch_lightning.utilities import rank_zero_warn
from typing_extensions import override

from callbacks.loggers import log_image
from callbacks.relevance import relevant_filters, selecting_explainer, unmet_by
from callbacks.run_access import Run
from vitrine.backbones.guard import eval_guard
from vitrine.core.atomic_io import atomic_folder
from vitrine.core.batch import Batch
from vitrine.core.file_names import slug
from vitrine.core.folder_manifest import FolderKind
from vitrine.core.options import Count, checked
from vitrine.core.progress import progress_bar
from vitrine.filters.average_images import AverageImage, average_images
from vitrine.filters.maxima import RankBy, TargetFilter
from vitrine.filters.relevance import RelevantFilter, record
from vitrine.visualization.contact_sheet import average_sheet
from vitrine.visualization.overlays import save_png
from vitrine.visualization.run_pages.average_page import average_page

FOLDER, INDEX, PAGE = "average_images", "average_images.json", "index.html"
KIND = FolderKind(INDEX, earlier=(INDEX, "[0-9][0-9][0-9]_*.png"), signature='"class_index": ')
Split = Literal["train", "test"]
Pair = tuple[RelevantFilter, AverageImage]


class AverageImages(pl.Callback):
    """Writes ``average_images/``: for each class a picture of its most relevant features (section 4.1 of Oramas et al.).

    A feature's row shows the mean of the image patches on which the filter responds most, of its upsampled activation, of
    deconvnet with guided backprop, and of the paper's heatmap; `vitrine.filters.average_images` says how. The images
    stream by twice, shared out over all ranks; rank zero draws. ``average_images.json`` lists, for each row, the images, and
    ``index.html`` shows all. An earlier folder is replaced, but for files of others. W&B and TensorBoard, where such a
    logger is in use, get the pictures too.

    Args:
        top_k: Images that are averaged, those of highest response.
        features_per_class: Features drawn of each class, the most relevant; those of negative weight, which tell by an
            absence, only where the explainer's option ``absent`` is ``show``.
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

    RENAMED: ClassVar[Mapping[str, str]] = {"top": "top_k"}

    @checked
    def __init__(
        self,
        top_k: Count = 100,
        features_per_class: Count = 5,
        classes: Sequence[str] | None = None,
        max_classes: Count = 20,
        of_class: bool = False,
        split: Split = "train",
        rank_by: RankBy = "response",
        side: Count = 96,
    ) -> None:
        super().__init__()
        self.top_k, self.features_per_class, self.side = top_k, features_per_class, side
        self.classes = None if classes is None else list(classes)
        self.max_classes, self.of_class, self.split = max_classes, of_class, split
        self.rank_by: RankBy = rank_by

    def unmet(self, run: Run) -> str:
        """An explainer that selects filters, where the run's is none; the callback is left out then."""
        return unmet_by(run)

    @override
    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Refuses a module with several explainers."""
        Run(trainer, pl_module, self).check_alone()

    @override
    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Refuses what cannot work before the run rather than after it."""
        self._check(Run(trainer, pl_module, self), "train")

    @override
    def on_test_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Refuses what cannot work before the run rather than after it."""
        self._check(Run(trainer, pl_module, self), "test")

    @override
    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Draws training images; the module is still on its device here, as it is not when fitting has ended."""
        if self.split == "train":
            self._draw(Run(trainer, pl_module, self))

    @override
    def on_test_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Draws test images."""
        if self.split == "test":
            self._draw(Run(trainer, pl_module, self))

    def _check(self, run: Run, split: Split) -> None:
        self._chosen_classes(run)
        if split == self.split:
            run.check_replaceable(FOLDER, KIND)

    def _chosen_classes(self, run: Run) -> list[int]:
        selecting_explainer(run)
        return run.class_indices(self.classes, run.class_names)[: self.max_classes]

    def _draw(self, run: Run) -> None:
        classes = set(self._chosen_classes(run))
        drawn = self._most_relevant([row for row in relevant_filters(run) if row.class_index in classes], run)
        if not drawn:
            rank_zero_warn(
                "AverageImages: no filter is relevant for the chosen classes, so that there is nothing to draw."
            )
            return
        with eval_guard(run.module, freeze=False, every_generator=True):
            pairs = self._averages(run, drawn)
        if run.trainer.is_global_zero:
            self._write(run, pairs)

    def _most_relevant(self, rows: Sequence[RelevantFilter], run: Run) -> list[RelevantFilter]:
        """The first rows of each class, without those of negative weight where the explainer does not draw what is absent."""
        options = getattr(run.explainer, "options", None)
        shown = [row for row in rows if row.weight > 0 or getattr(options, "absent", "show") == "show"]
        of_class: dict[int, list[RelevantFilter]] = {}
        for row in shown:
            of_class.setdefault(row.class_index, []).append(row)
        return [row for rows in of_class.values() for row in rows[: self.features_per_class]]

    def _averages(self, run: Run, rows: Sequence[RelevantFilter]) -> list[Pair]:
        """The rows with their average images; a filter that several classes want is averaged once."""
        targets = {row: self._target(row) for row in rows}
        channels, height, width = run.datamodule.panel(1)["image"].shape[1:]
        passes = 2 * math.ceil(run.training_data.num_samples(self.split) / run.trainer.world_size)
        with progress_bar("Average images", passes, shown=run.trainer.is_global_zero) as advance:
            averages = average_images(
                self._stream(run),
                selecting_explainer(run).responses,
                list(dict.fromkeys(targets.values())),
                (channels, height, width),
                top_k=self.top_k,
                rank_by=self.rank_by,
                side=self.side,
                device=run.module.device,
                advance=advance,
            )
        of_filter = {average.target: average for average in averages}
        return [(row, of_filter[target]) for row, target in targets.items() if target in of_filter]

    def _target(self, row: RelevantFilter) -> TargetFilter:
        return TargetFilter(row.layer, row.filter, row.class_index if self.of_class else None)

    def _stream(self, run: Run) -> Callable[[], Iterable[Batch]]:
        def stream() -> Iterable[Batch]:
            for batch in run.training_data.every_image(self.split):
                batch["image"] = run.trainer.precision_plugin.convert_input(batch["image"])
                yield batch

        return stream

    def _write(self, run: Run, pairs: Sequence[Pair]) -> None:
        denormalize = run.datamodule.preprocessing.denormalize
        with atomic_folder(run.folder / FOLDER, KIND) as folder:
            names: dict[int, str] = {}
            for index in dict.fromkeys(row.class_index for row, _ in pairs):
                rows, averages = zip(*[pair for pair in pairs if pair[0].class_index == index], strict=True)
                sheet = average_sheet(averages, [row.label for row in rows], denormalize)
                names[index] = f"{index:03d}_{slug(rows[0].class_name)}.png"
                save_png(sheet, folder / names[index])
                log_image(run.trainer, f"average_images/{rows[0].class_name}", sheet)
            entries = [entry(*pair) for pair in pairs]
            (folder / PAGE).write_text(average_page(entries, names), encoding="utf-8")
            text = json.dumps(entries, indent=2, ensure_ascii=False)
            (folder / INDEX).write_text(f"{text}\n", encoding="utf-8")


def entry(row: RelevantFilter, average: AverageImage) -> dict[str, Any]:
    """What ``average_images.json`` says of a row, with the images that went into it."""
    images = [{"key": image.key, "response": image.response, "location": image.location} for image in average.images]
    return {**record(row), "images": images}
