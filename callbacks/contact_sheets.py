"""ContactSheets: writes the contact sheets on which people find names for x-features."""

from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import ClassVar, NamedTuple, Protocol, cast
from urllib.parse import quote

import numpy as np
from numpy.typing import NDArray
from pytorch_lightning import LightningModule, Trainer
from torch import Tensor
from typing_extensions import override

from callbacks.candidates import Candidates, Shares
from callbacks.evaluation import EvaluationCallback
from callbacks.loggers import log_image
from callbacks.run_access import Run
from vitrine.core.atomic_io import atomic_folder
from vitrine.core.background import Background
from vitrine.core.batch import Batch
from vitrine.core.file_names import safe_name
from vitrine.core.folder_manifest import FolderKind
from vitrine.core.options import Count, checked
from vitrine.data.contracts import satisfies
from vitrine.explainers import Explainer
from vitrine.explainers.names import NAMES_NAME, Names, joined
from vitrine.visualization.contact_sheet import ContactTile, contact_pixels, contact_sheet, sort_key_of
from vitrine.visualization.overlays import save_png
from vitrine.visualization.report.contact_page import SheetEntry, contact_page

FOLDER, PAGE = "x_features", "index.html"
KIND = FolderKind(
    PAGE,
    earlier=(PAGE, "*/x-feature-*.png"),
    signature="Each sheet shows the images on which one x-feature contributes most to its class",
)
NEEDED = "an explainer with the same heatmaps for all images of a class, such as SRAEExplainer"
Slot = tuple[int, int]
"""An x-feature: its class as a logit's index, and its number within it from 0."""


class TileToCome(NamedTuple):
    """A tile whose pixels are drawn while the next images are explained."""

    contribution: float
    key: str
    rank: int
    drawing: Future[NDArray[np.uint8]]

    def drawn(self) -> ContactTile:
        """The tile, once it is drawn."""
        return ContactTile(self.contribution, self.key, self.rank, self.drawing.result())


class HasNamesFile(Protocol):
    """A module that says where a person writes names for the heatmaps."""

    @property
    def names_file(self) -> Path:
        """The file."""


class ContactSheets(EvaluationCallback[Shares[Slot, ContactTile]]):
    """Writes ``x_features/`` while testing: for each x-feature of each class the images to which it contributes most.

    Of the images that were explained as the class, those of largest |vᵢEᵢ| are kept, ties by key, so that the sheets are the
    same whatever the number of ranks and workers; an x-feature that does not contribute to an image leaves it out.
    ``x_features/index.html`` shows the sheets of each class beside each other, with the names that the x-features have, and
    says where to write names. An earlier folder is replaced, but for files of others. W&B and TensorBoard, where such a
    logger is in use, get the sheets too. Each kept image takes 3 · tile_size² bytes of memory.

    Args:
        num_images: At most so many images of each x-feature.
        num_columns: Images a row.
        classes: Names of the classes to show; the first ``max_classes`` of those explained without it.
        max_classes: At most so many classes.
        tile_size: Pixels of an image's longer side.

    Raises:
        ValueError: For a number below 1; before the first batch, for an explainer whose heatmaps mean something else in each
            image, or a class that is not explained.
    """

    RENAMED: ClassVar[Mapping[str, str]] = {"images": "num_images", "columns": "num_columns", "cell": "tile_size"}
    title: ClassVar[str] = "Contact sheets"
    replaces = (FOLDER, KIND)

    @checked
    def __init__(
        self,
        num_images: Count = 24,
        num_columns: Count = 6,
        classes: Sequence[str] | None = None,
        max_classes: Count = 20,
        tile_size: Count = 120,
    ) -> None:
        super().__init__()
        self.num_images, self.num_columns, self.tile_size = num_images, num_columns, tile_size
        self.classes = None if classes is None else list(classes)
        self.max_classes = max_classes
        self._chosen: list[int] = []
        self._tiles: Candidates[Slot, TileToCome] = Candidates(num_images)
        self._background: Background | None = None

    @override
    def unmet(self, run: Run) -> str:
        own = getattr(
            type(run.explainer), "heatmap_counts", None
        )  # what it counts may follow from the data set's classes
        return NEEDED if own in {None, Explainer.heatmap_counts} else ""

    @override
    def begin(self, run: Run) -> None:
        explained = _explainer_of(run).heatmap_counts()
        self._chosen = sorted(run.class_indices(self.classes, explained, "explained class"))[: self.max_classes]
        self._tiles.clear()
        self._background = Background("contact-sheets")

    @override
    def take(self, run: Run, batch: Batch, outputs: object) -> None:
        explanation, explainer = run.explanation(outputs), _explainer_of(run)
        for row, (key, index) in enumerate(zip(batch["key"], explanation.target.tolist(), strict=True)):
            if index not in self._chosen:
                continue
            scores, heatmaps = explanation.scores[row].tolist(), explanation.valid_heatmaps(row)
            slots = {k: (index, number) for k, number in zip(heatmaps, explainer.heatmap_numbers(index), strict=True)}
            places = {k: sort_key_of(scores[k], key, run.trainer.global_rank) for k in slots if abs(scores[k]) > 0}
            wanted = {
                slots[k]: (scores[k], k) for k, place in places.items() if self._tiles.wants(slots[k], place, key)
            }
            if wanted:
                self._keep(run, key, run.plain_images(batch, [row])[0], explanation.heatmaps[row], wanted)

    def _keep(
        self, run: Run, key: str, image: Tensor, heatmaps: Tensor, wanted: Mapping[Slot, tuple[float, int]]
    ) -> None:
        background, rank = cast("Background", self._background), run.trainer.global_rank
        for slot, (score, k) in wanted.items():
            drawing = background.call(contact_pixels, image, heatmaps[k], self.tile_size)
            self._tiles.offer(slot, sort_key_of(score, key, rank), TileToCome(score, key, rank, drawing))

    @override
    def share(self, run: Run) -> Shares[Slot, ContactTile]:
        share = self._tiles.share()
        self._tiles.clear()
        if self._background is not None:
            self._background.finish()
            self._background = None
        return {slot: [(place, tile.drawn()) for place, tile in few] for slot, few in share.items()}

    @override
    def write(self, run: Run, shares: Sequence[Shares[Slot, ContactTile]]) -> Path:
        explainer = _explainer_of(run)
        tiles = Candidates[Slot, ContactTile](self.num_images).joined(shares)
        slots = [(index, number) for index in self._chosen for number in explainer.heatmap_numbers(index)]
        # Pillow compresses without the interpreter lock, while the next sheets are drawn.
        with atomic_folder(run.folder / FOLDER, KIND) as folder, Background(FOLDER, most_waiting=4) as saving:
            entries = [self._entry(run, folder, saving, slot, tiles.get(slot, ())) for slot in slots]
            title = f"The x-features of {type(explainer).__name__} on {type(run.datamodule).__name__}"
            page = contact_page(title, entries, str(names_file(run)), _all_names(explainer))
            (folder / PAGE).write_text(page, encoding="utf-8")
        return run.folder / FOLDER / PAGE

    def _entry(
        self, run: Run, folder: Path, saving: Background, slot: Slot, tiles: Sequence[ContactTile]
    ) -> SheetEntry:
        explainer, (index, number) = _explainer_of(run), slot
        class_name, label = explainer.class_name(index), f"x-feature {number + 1}"
        name = explainer.heatmap_name(index, number, "") or None
        if not tiles:
            return SheetEntry(class_name, number + 1, name, None)
        sheet = contact_sheet(f"{class_name}: {f'{label}, {name}' if name else label}", tiles, self.num_columns)
        path = Path(safe_name(class_name), f"x-feature-{number + 1}.png")
        (folder / path).parent.mkdir(exist_ok=True)
        log_image(run.trainer, f"{FOLDER}/{class_name}/{label}", sheet)
        saving.call(save_png, sheet, folder / path)  # last, as saving changes the picture's own options
        return SheetEntry(class_name, number + 1, name, quote(path.as_posix()), sheet.size)

    @override
    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Ends the drawing."""
        for one in (self, *self.copies):
            one._tiles.clear()  # noqa: SLF001 - its own class
            if one._background is not None:  # noqa: SLF001
                one._background.drop()  # noqa: SLF001
                one._background = None  # noqa: SLF001


def names_file(run: Run) -> Path:
    """Where a person writes names for the heatmaps."""
    if satisfies(run.module, HasNamesFile):
        return cast("HasNamesFile", run.module).names_file
    return run.folder / "explainer" / NAMES_NAME


def _all_names(explainer: Explainer) -> Names:
    """By class, the names of all its heatmaps; empty where one has none yet."""
    return joined(explainer.heatmap_names, {}, explainer.heatmap_counts())


def _explainer_of(run: Run) -> Explainer:
    if isinstance(run.explainer, Explainer) and run.explainer.heatmap_counts():
        return run.explainer
    raise run.refusal(NEEDED, run.explainer)
