"""Writes what a prediction run finds: overlays, raw maps and a table."""

import csv
import hashlib
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pytorch_lightning as pl
from safetensors.torch import save_file
from torch import Tensor
from typing_extensions import override

from callbacks.run_access import class_names, datamodule_of, explanation_of, plain_images
from vitrine.core.atomic_io import finish_atomic_folder, staging_folder, start_atomic_folder
from vitrine.core.batch import Batch, class_name
from vitrine.core.distributed import gather_on_zero
from vitrine.core.explanation import Explanation
from vitrine.visualization.overlays import overlay
from vitrine.visualization.panel import probability_of

TABLE = "predictions.csv"


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


class PredictionWriter(pl.Callback):
    """Writes the run folder's ``predictions/`` while predicting.

    For each image a folder named after its key, with an overlay for each heatmap (``01_x-feature-3.png`` and so on) and
    ``heatmaps.safetensors`` with the raw ``heatmaps`` (K, H, W) and ``scores`` (K,) in float32; and over all images
    ``predictions.csv``, in the order of the keys. Each rank writes its own images, so that all ranks must see the same
    run folder. An earlier ``predictions/`` is replaced as a whole, when the run ends.

    Args:
        opacity: Of a heatmap at its maximum, in [0, 1].
    """

    def __init__(self, opacity: float = 0.8) -> None:
        super().__init__()
        if not 0 <= opacity <= 1:
            raise ValueError(f"PredictionWriter: opacity must be in [0, 1], got {opacity}.")
        self.opacity = opacity
        self._rows: list[Row] = []

    @override
    def on_predict_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Makes the folder to write in; the other ranks wait for it."""
        datamodule_of(trainer, self)
        self._rows = []
        if trainer.is_global_zero:
            start_atomic_folder(folder_of(trainer), TABLE)
        trainer.strategy.barrier("predictions")

    @override
    def on_predict_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: object,
        batch: Batch,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Writes the batch's images."""
        explanation = explanation_of(outputs, self, "predict_step")
        images = plain_images(trainer, batch, self, range(len(explanation)))
        names = class_names(trainer, pl_module, self)
        for row, key in enumerate(batch["key"]):
            one = explanation[row : row + 1]
            write_image(
                staging_folder(folder_of(trainer)) / safe_path(key), key, images[row], one, opacity=self.opacity
            )
            self._rows.append(table_row(key, one, names))

    @override
    def on_predict_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Writes the table over all ranks and gives the folder its name."""
        shares = gather_on_zero(self._rows)
        self._rows = []
        if trainer.is_global_zero:
            unique = {row.key: row for share in shares for row in share}  # samplers may double a sample to even out
            write_table(staging_folder(folder_of(trainer)) / TABLE, [unique[key] for key in sorted(unique)])
            finish_atomic_folder(folder_of(trainer))


def folder_of(trainer: pl.Trainer) -> Path:
    """Where the predictions go."""
    return Path(trainer.default_root_dir) / "predictions"


def table_row(key: str, explanation: Explanation, names: Sequence[str]) -> Row:
    """The row of an explanation of one image."""
    prediction = int(explanation.prediction[0])
    return Row(
        key=key,
        prediction=prediction,
        class_name=class_name(names, prediction),
        probability=probability_of(explanation, 0),
        target=int(explanation.target[0]),
        labels=[explanation.labels[0][k] for k in explanation.valid_heatmaps(0)],
        scores=explanation.scores[0, explanation.valid_heatmaps(0)].tolist(),
    )


def write_table(path: Path, rows: Sequence[Row]) -> None:
    """Writes the CSV; rows with fewer heatmaps than others end in empty cells."""
    most = max((len(row.labels) for row in rows), default=0)
    heatmaps = [name for k in range(1, most + 1) for name, _ in _pair(k, "", 0)]
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, ["key", "prediction", "class_name", "probability", "target", *heatmaps])
        writer.writeheader()
        writer.writerows(row.cells() for row in rows)


def write_image(folder: Path, key: str, image: Tensor, explanation: Explanation, *, opacity: float) -> None:
    """Writes the overlays and raw maps of one image, without heatmaps that are padding.

    Args:
        folder: Where to; made where it is not there.
        key: Name of the sample, kept in the raw maps' metadata.
        image: (3, H, W) in [0, 1].
        explanation: Of this one image.
        opacity: Of a heatmap at its maximum.
    """
    folder.mkdir(parents=True, exist_ok=True)
    shown = explanation.valid_heatmaps(0)
    labels, heatmaps = [explanation.labels[0][k] for k in shown], explanation.heatmaps[0, shown]
    for k, (label, heatmap) in enumerate(zip(labels, heatmaps, strict=True), start=1):
        overlay(image, heatmap, opacity=opacity).save(folder / f"{k:02d}_{slug(label)}.png")
    tensors = {"heatmaps": heatmaps.float().contiguous(), "scores": explanation.scores[0, shown].float()}
    sample = json.dumps({"key": key, "labels": labels}, ensure_ascii=False)
    # One entry only: safetensors writes several in a random order, and equal runs would differ in their bytes.
    save_file(tensors, folder / "heatmaps.safetensors", metadata={"sample": sample})


def slug(label: str) -> str:
    """The label as a part of a file's name."""
    return re.sub(r"[^\w.]+", "-", label).strip("-.")[:60] or "heatmap"


def safe_path(key: str) -> Path:
    """A relative path for a key that stays below its folder; different keys have different paths.

    Parts that would not do as a file's name are cleaned, and told apart by a digest of what they were.
    """
    return Path(*(safe_name(part) for part in key.split("/")))


def safe_name(part: str) -> str:
    """A file's name for any text; different texts have different names."""
    clean = re.sub(r"[^\w.+=,@() -]", "_", part).strip(". ")[:80]
    if part and clean == part:
        return part
    return f"{clean}~{hashlib.sha256(part.encode('utf-8', 'surrogateescape')).hexdigest()[:10]}"
