"""PredictionWriter: writes overlays, raw maps and a table of a prediction run."""

import json
import math
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal
from urllib.parse import quote

from pytorch_lightning import LightningModule, Trainer
from safetensors.torch import save_file
from torch import Tensor
from typing_extensions import override

from callbacks.evaluation import EvaluationCallback
from callbacks.run_access import Run
from vitrine.core.atomic_io import finish_atomic_folder, start_atomic_folder
from vitrine.core.background import Background
from vitrine.core.batch import Batch
from vitrine.core.csv_tables import write_csv_table
from vitrine.core.explanation import Explanation, class_name
from vitrine.core.file_names import safe_path, slug
from vitrine.core.folder_manifest import FolderKind
from vitrine.core.heatmap_texts import HeatmapTexts
from vitrine.core.options import Share, checked
from vitrine.visualization.overlays import overlay, picture, save_png
from vitrine.visualization.panel import probability_of
from vitrine.visualization.report.cards import probability_fact
from vitrine.visualization.run_pages.predictions_page import write_predictions_page
from vitrine.visualization.scale import shares

FOLDER, TABLE, PHOTO = "predictions", "predictions.csv", "image.webp"
KIND = FolderKind(
    TABLE,
    earlier=(TABLE, "*/heatmaps.safetensors", "*/[0-9][0-9]_*.png"),
    signature="key,prediction,class_name,probability,target",
)


@dataclass(frozen=True)
class Row:
    """One image's row of the table."""

    key: str
    prediction: int
    class_name: str
    probability: float
    target: int
    labels: Sequence[str]
    scores: Sequence[float]
    explained: str = ""
    """Name of the class ``target``."""

    @classmethod
    def of(cls, key: str, explanation: Explanation, class_names: Sequence[str]) -> "Row":
        """The row of an explanation of one image."""
        prediction, heatmaps = int(explanation.prediction[0]), explanation.valid_heatmaps(0)
        return cls(
            key=key,
            prediction=prediction,
            class_name=class_name(class_names, prediction),
            probability=probability_of(explanation, 0),
            target=int(explanation.target[0]),
            labels=[explanation.labels[0][k] for k in heatmaps],
            scores=explanation.scores[0, heatmaps].tolist(),
            explained=class_name(class_names, int(explanation.target[0])),
        )

    def card(self) -> dict[str, Any]:
        """What the page's script reads of the row: its drawn overlays beside the image."""
        place = quote(safe_path(self.key).as_posix())
        tiles = [
            {
                "label": label,
                "score": score if math.isfinite(score) else None,
                "picture": f"{place}/{quote(picture_name(k, label))}",
            }
            for k, (label, score) in enumerate(zip(self.labels, self.scores, strict=True), start=1)
        ]
        return {
            "key": self.key,
            "labels": [],
            "prediction": self.class_name,
            "probability": probability_fact(self.probability),
            **({"explained": self.explained} if self.target != self.prediction else {}),
            "photo": f"{place}/{PHOTO}",
            "size": [1, 1],
            "links": {"raw maps": f"{place}/heatmaps.safetensors"},
            "groups": [{"method": "", "tiles": tiles}],
        }

    def cells(self) -> dict[str, str | int]:
        """Column by column; figures keep all that float32 holds."""
        pairs = enumerate(zip(self.labels, self.scores, strict=True), start=1)
        heatmaps = {name: cell for k, (label, score) in pairs for name, cell in _pair(k, label, score)}
        return {
            "key": self.key,
            "prediction": self.prediction,
            "class_name": self.class_name,
            "probability": f"{self.probability:.9g}",
            "target": self.target,
            **heatmaps,
        }


def _pair(k: int, label: str, score: float) -> list[tuple[str, str]]:
    return [(f"label_{k}", label), (f"score_{k}", f"{score:.9g}")]


class PredictionWriter(EvaluationCallback[Sequence[Row]]):
    """Writes the run folder's ``predictions/`` while predicting.

    For each image a folder named after its key, with an overlay for each heatmap (``01_x-feature-3.png`` and so on),
    ``image.webp``, and ``heatmaps.safetensors`` with the raw ``heatmaps`` (K, H, W) and ``scores`` (K,) in float32; and over
    all images ``predictions.csv``, in the order of the keys, and ``index.html``, a page of all. The overlays of an image
    share a scale, see `vitrine.visualization.scale`. Each rank writes its own images, so that all ranks must see the same
    run folder. An earlier ``predictions/`` is replaced when the run ends, but for files of others.

    Args:
        opacity: Of a heatmap at its maximum.

    Raises:
        ValueError: If ``opacity`` is not from 0 to 1.
    """

    stage: ClassVar[Literal["test", "predict"]] = "predict"
    title: ClassVar[str] = "Predictions"
    replaces = (FOLDER, KIND)

    @checked
    def __init__(self, opacity: Share = 0.8) -> None:
        super().__init__()
        self.opacity = opacity
        self._rows: list[Row] = []
        self._staging: Path | None = None  # where all ranks of this run write, until it is complete
        self._background: Background | None = None  # writes there while the next images are explained

    @override
    def begin(self, run: Run) -> None:
        """Makes the folder to write in; the other ranks wait for it."""
        _ = run.datamodule  # an error without one, before anything is written
        self._rows = []
        self._staging = run.on_zero(lambda: start_atomic_folder(run.folder / FOLDER, KIND))
        self._background = Background("predictions")

    @override
    def take(self, run: Run, batch: Batch, outputs: object) -> None:
        """Has the batch's images written."""
        explanation, class_names = run.explanation(outputs), run.class_names
        images, (staging, background) = run.plain_images(batch, range(len(explanation))), self._begun()
        for row, key in enumerate(batch["key"]):
            of_image = explanation[row : row + 1]
            drawn = (staging / safe_path(key), key, images[row], of_image)
            background.call(write_image, *drawn, opacity=self.opacity, texts=run.heatmap_texts)
            self._rows.append(Row.of(key, of_image, class_names))

    @override
    def share(self, run: Run) -> Sequence[Row]:
        self._begun()[1].finish()
        rows, self._rows = self._rows, []
        return rows

    @override
    def write(self, run: Run, shares: Sequence[Sequence[Row]]) -> Path:
        """Writes the table over all ranks and gives the folder its name."""
        unique = {row.key: row for share in shares for row in share}  # samplers may double a sample to even out
        staging, _ = self._begun()
        ordered = [unique[key] for key in sorted(unique)]
        write_table(staging / TABLE, ordered)
        title = f"Predictions of {type(run.explainer).__name__.removesuffix('Explainer')}"
        write_predictions_page(
            staging, (row.card() for row in ordered), title=title, texts=run.heatmap_texts, table=TABLE
        )
        finish_atomic_folder(staging, run.folder / FOLDER, KIND)
        self._staging = None
        return run.folder / FOLDER

    def _begun(self) -> tuple[Path, Background]:
        if self._staging is None or self._background is None:
            raise RuntimeError("PredictionWriter writes between a prediction's start and its end.")
        return self._staging, self._background

    @override
    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Leaves an earlier ``predictions/`` as it was, and nothing of this one."""
        self._remove_staging(trainer)

    @override
    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Leaves nothing of a ``fast_dev_run``."""
        super().teardown(trainer, pl_module, stage)
        self._remove_staging(trainer)

    def _remove_staging(self, trainer: Trainer) -> None:
        for copy in self.copies:
            copy._remove_staging(trainer)  # noqa: SLF001 - its own class
        if self._background is not None:
            self._background.drop()  # before its folder goes
            self._background = None
        if self._staging is not None and trainer.is_global_zero:
            shutil.rmtree(self._staging, ignore_errors=True)
        self._staging = None


def picture_name(k: int, label: str) -> str:
    """Name of the file of the overlay of an image's k-th heatmap, from 1."""
    return f"{k:02d}_{slug(label)}.png"


def write_table(path: Path, rows: Sequence[Row]) -> None:
    """Writes the CSV, see `write_csv_table`; rows with fewer heatmaps than others end in empty cells."""
    most = max((len(row.labels) for row in rows), default=0)
    heatmaps = [name for k in range(1, most + 1) for name, _ in _pair(k, "", 0)]
    columns = ["key", "prediction", "class_name", "probability", "target", *heatmaps]
    write_csv_table(path, columns, [row.cells() for row in rows])


def write_image(
    folder: Path, key: str, image: Tensor, explanation: Explanation, *, opacity: float, texts: HeatmapTexts
) -> None:
    """Writes the overlays and raw maps of one image, without heatmaps that are padding.

    Args:
        folder: Where to; made where it is not there.
        key: Name of the sample, kept in the raw maps' metadata.
        image: (3, H, W) in [0, 1].
        explanation: Of this one image.
        opacity: Of a heatmap at its maximum.
        texts: Of the explainer, which say whether maps have two signs and share a scale.
    """
    folder.mkdir(parents=True, exist_ok=True)
    valid = explanation.valid_heatmaps(0)
    labels, heatmaps = [explanation.labels[0][k] for k in valid], explanation.heatmaps[0, valid]
    picture(image).save(folder / PHOTO, quality=85)
    of_map = shares(explanation.scores[0, valid].tolist(), "common" if texts.comparable else "own")
    for k, (label, heatmap) in enumerate(zip(labels, heatmaps, strict=True), start=1):
        drawn = overlay(image, heatmap, opacity=opacity, share=of_map[k - 1], signed=texts.signed)
        save_png(drawn, folder / picture_name(k, label))
    tensors = {"heatmaps": heatmaps.float().contiguous(), "scores": explanation.scores[0, valid].float()}
    sample = json.dumps({"key": key, "labels": labels}, ensure_ascii=False)
    # One entry only: safetensors writes several in a random order, and equal runs would differ in their bytes.
    save_file(tensors, folder / "heatmaps.safetensors", metadata={"sample": sample})
