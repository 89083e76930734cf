"""Writes the contact sheets on which people find names for x-features."""

import difflib
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytorch_lightning as pl
from PIL import Image
from rich.console import Console
from typing_extensions import override

from callbacks.heatmaps import send_to
from callbacks.predictions import safe_name
from callbacks.run_access import class_names, datamodule_of, explanation_of, plain_images
from vitrine.core.atomic_io import atomic_folder
from vitrine.core.batch import Batch
from vitrine.core.distributed import gather_on_zero, gather_over_ranks
from vitrine.core.explanation import Explanation
from vitrine.core.top_k import TopK
from vitrine.explainers.names import NAMES_NAME
from vitrine.visualization.contact_sheet import ContactTile, Place, contact_pixels, contact_sheet, place_of
from vitrine.visualization.report.contact_page import SheetEntry, contact_page

FOLDER, PAGE = "x_features", "index.html"
Slot = tuple[int, int]
"""An x-feature: its class as a logit's index, and its number within it from 0."""


@dataclass(frozen=True)
class Standing:
    """A tile as the ranks tell each other of it, without its picture."""

    place: Place
    key: str


class ContactSheets(pl.Callback):
    """Writes ``x_features/`` while testing: for each x-feature of each class the images to which it contributes most.

    Of the images that were explained as the class, those of largest |vᵢEᵢ| are kept, ties by key, so that the sheets are the
    same whatever the number of ranks and workers; an x-feature that does not contribute to an image leaves it out.
    ``x_features/index.html`` shows the sheets of each class beside each other, with the names that the x-features have, and
    says where to write names. An earlier folder is replaced as a whole. W&B and TensorBoard, where such a logger is in use,
    get the sheets too. Each kept image takes 3 · cell² bytes of memory.

    Args:
        images: At most so many images of each x-feature.
        columns: Images a row.
        classes: Names of the classes to show; the first ``max_classes`` of those explained without it.
        max_classes: At most so many classes.
        cell: Pixels of an image's longer side.

    Raises:
        ValueError: For a number below 1; before the run starts, for an explainer whose heatmaps mean something else in each
            image, or a class that is not explained.
    """

    def __init__(
        self,
        images: int = 24,
        columns: int = 6,
        classes: Sequence[str] | None = None,
        max_classes: int = 20,
        cell: int = 120,
    ) -> None:
        super().__init__()
        numbers = {"images": images, "columns": columns, "max_classes": max_classes, "cell": cell}
        for option, value in numbers.items():
            if value < 1:
                raise ValueError(f"ContactSheets: {option} must be at least 1, got {value}.")
        self.images, self.columns, self.cell = images, columns, cell
        self.classes = None if classes is None else list(classes)
        self.max_classes = max_classes
        self._chosen: list[int] = []
        self._page: Path | None = None
        self._kept: dict[Slot, TopK[ContactTile]] = defaultdict(self._few)

    @override
    def on_test_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Forgets an earlier run, and finds what is wrong before this one."""
        names = class_names(trainer, pl_module, self)
        self._chosen = chosen_classes(pl_module, names, self.classes)[: self.max_classes]
        self._page = None
        self._kept.clear()

    @override
    def on_test_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: object,
        batch: Batch,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Keeps the images that belong on a sheet so far."""
        explanation = explanation_of(outputs, self, "test_step")
        explainer: Any = pl_module.explainer
        numbers = {index: explainer.heatmap_numbers(index) for index in set(explanation.target.tolist())}
        for row, key in enumerate(batch["key"]):
            index = int(explanation.target[row])
            if index not in self._chosen:
                continue
            contributions = explanation.scores[row].tolist()
            wanted = {
                heatmap: (index, number)
                for heatmap, number in zip(explanation.valid_heatmaps(row), numbers[index], strict=True)
                if abs(contributions[heatmap]) > 0
                and self._kept[index, number].accepts(place_of(contributions[heatmap], key, trainer.global_rank), key)
            }
            if wanted:
                self._keep(trainer, batch, explanation, row, wanted)

    def _keep(
        self, trainer: pl.Trainer, batch: Batch, explanation: Explanation, row: int, wanted: dict[int, Slot]
    ) -> None:
        image, key = plain_images(trainer, batch, self, [row])[0], batch["key"][row]
        for heatmap, slot in wanted.items():
            pixels = contact_pixels(image, explanation.heatmaps[row, heatmap], self.cell)
            tile = ContactTile(float(explanation.scores[row, heatmap]), key, trainer.global_rank, pixels)
            self._kept[slot].add(tile.place, tile)

    @override
    def on_test_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Gathers over all ranks and writes on rank zero."""
        shares = gather_on_zero(self._winners())
        self._kept.clear()
        if trainer.is_global_zero:
            tiles: dict[Slot, list[ContactTile]] = defaultdict(list)
            for share in shares:
                for slot, own in share.items():
                    tiles[slot] += own
            self._write(trainer, pl_module, {slot: sorted(own, key=lambda t: t.place) for slot, own in tiles.items()})

    @override
    def teardown(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Tells where the sheets are, after Lightning has printed its table of metrics."""
        if stage == "test" and self._page is not None:
            Console(soft_wrap=True, highlight=False, markup=False).print(f"Contact sheets: {self._page}")

    def _few(self) -> TopK[ContactTile]:
        return TopK(self.images)

    def _winners(self) -> dict[Slot, list[ContactTile]]:
        """This rank's tiles that are among the first over all ranks; their places go round before pictures."""
        first: dict[Slot, TopK[Standing]] = defaultdict(lambda: TopK(self.images))
        own = {slot: [Standing(tile.place, tile.key) for tile in kept] for slot, kept in self._kept.items()}
        for share in gather_over_ranks(own):
            for slot, standings in share.items():
                for standing in standings:
                    first[slot].add(standing.place, standing)
        places = {slot: {standing.place for standing in kept} for slot, kept in first.items()}
        return {slot: [tile for tile in kept if tile.place in places[slot]] for slot, kept in self._kept.items()}

    def _write(self, trainer: pl.Trainer, pl_module: pl.LightningModule, tiles: dict[Slot, list[ContactTile]]) -> None:
        explainer: Any = pl_module.explainer
        names_file = getattr(pl_module, "names_file", Path(trainer.default_root_dir, "explainer", NAMES_NAME))
        with atomic_folder(Path(trainer.default_root_dir) / FOLDER, marker=PAGE) as folder:
            entries = [
                self._entry(trainer, explainer, folder, (index, number), tiles.get((index, number), []))
                for index in self._chosen
                for number in explainer.heatmap_numbers(index)
            ]
            title = f"The x-features of {type(explainer).__name__} on {type(datamodule_of(trainer, self)).__name__}"
            (folder / PAGE).write_text(contact_page(title, entries, str(names_file)), encoding="utf-8")
        self._page = Path(trainer.default_root_dir) / FOLDER / PAGE

    def _entry(
        self, trainer: pl.Trainer, explainer: Any, folder: Path, slot: Slot, tiles: Sequence[ContactTile]
    ) -> SheetEntry:
        class_name, number = explainer.class_name(slot[0]), slot[1] + 1
        name = explainer.heatmap_name(*slot, "") or None
        if not tiles:
            return SheetEntry(class_name, number, name, None)
        label = f"x-feature {number}"
        sheet = contact_sheet(f"{class_name}: {f'{label}, {name}' if name else label}", tiles, self.columns)
        place = Path(safe_name(class_name), f"x-feature-{number}.png")
        (folder / place).parent.mkdir(exist_ok=True)
        sheet.save(folder / place)
        _send(trainer, f"{FOLDER}/{class_name}/{label}", sheet)
        return SheetEntry(class_name, number, name, quote(place.as_posix()), sheet.size)


def _send(trainer: pl.Trainer, name: str, sheet: Image.Image) -> None:
    for logger in trainer.loggers:
        send_to(logger, name, sheet, trainer.global_step)


def chosen_classes(pl_module: pl.LightningModule, names: Iterable[str], wanted: Sequence[str] | None) -> list[int]:
    """Indices of the classes that have x-features, or of those wanted among them.

    Raises:
        ValueError: where the explainer has no x-features, or a wanted class has none.
    """
    explainer: Any = pl_module.explainer
    counts = explainer.heatmap_counts() if hasattr(explainer, "heatmap_counts") else {}
    if not counts:
        raise ValueError(
            "ContactSheets needs an explainer with the same heatmaps for all images of a class, such as SRAEExplainer, got"
            f" {type(explainer).__name__}."
        )
    for name in wanted or ():
        if name not in counts:
            near = difflib.get_close_matches(name, list(counts), n=5, cutoff=0.3) or list(counts)[:5]
            raise ValueError(f"ContactSheets: there is no explained class {name!r}; near names: {', '.join(near)}.")
    return [index for index, name in enumerate(names) if name in (counts if wanted is None else wanted)]
