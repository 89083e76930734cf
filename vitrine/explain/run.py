"""Runs ``vitrine explain``: predictions, heatmaps and a report of a model on a folder of pictures."""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor

from vitrine.core.atomic_io import atomic_folder
from vitrine.core.background import Background
from vitrine.core.explanation import Explanation
from vitrine.core.folder_manifest import check_replaceable
from vitrine.core.progress import progress_bar
from vitrine.explain.chosen import ChosenExplainers, chosen_explainers
from vitrine.explain.entries import MOST_ORIGINALS, gallery_entry
from vitrine.explain.fitting import PictureFit
from vitrine.explain.labels import FolderLabels, folder_labels
from vitrine.explain.network import ExplainedNetwork, explained_network
from vitrine.explain.options import ExplainOptions
from vitrine.explain.pictures import Picture, Pictures, stacked
from vitrine.explain.predictions import FOLDER, KIND, TABLE, Predicted, PredictionsFolder
from vitrine.explainers import Explainer, MuLassoExplainer
from vitrine.explainers.together import explain_together
from vitrine.visualization.report.gallery import GALLERY, write_gallery
from vitrine.visualization.run_pages import write_run_index

REPORT, EXPLAINERS = "report", "explainers"
Tell = Callable[[str, str], None]
"""Takes the heading and the text of what a person is told."""


@dataclass(frozen=True)
class Explained:
    """Where the results are, and figures of the run."""

    index: Path
    report: Path
    predictions: Path
    metrics: Mapping[str, float]
    left_out: Sequence[str] = ()
    """A sentence for each picture that could not be read, and for those that no explainer has a head for."""


def explain(options: ExplainOptions, tell: Tell = lambda *_: None) -> Explained:
    """Explains a model on pictures; writes ``report/``, ``predictions/`` and, of fitted explainers, ``explainers/``.

    Args:
        options: of the run.
        tell: what a person is told goes there.

    Raises:
        ValueError: for options that do not fit the network or the pictures.
        FileNotFoundError: where a file or folder is not there.
        FileExistsError: where results would replace what somebody else wrote.
    """
    pictures = Pictures(options.images)
    for name, kind in ((REPORT, GALLERY), (FOLDER, KIND)):
        check_replaceable(options.out / name, kind)
    network = explained_network(options)
    labels = folder_labels(pictures.folders(), network.classes, options.labels, options.class_map)
    chosen = chosen_explainers(network, options.explainers, options.seed)
    _tell_beginning(tell, options, network, pictures, labels, chosen)
    run = ExplainRun(options, network, pictures, labels, dict(chosen.ready))
    run.fit(chosen.fitted, tell)
    return run.write()


@dataclass
class ExplainRun:
    """One pass over the pictures with all explainers."""

    options: ExplainOptions
    network: ExplainedNetwork
    pictures: Pictures
    labels: FolderLabels
    explainers: dict[str, Explainer]
    correct: list[bool] = field(default_factory=list)
    """Of each labelled picture."""
    predicted: Counter[str] = field(default_factory=Counter)
    without_head: int = 0
    """Pictures of classes that no explainer has a head for."""

    def __post_init__(self) -> None:
        self.names = self.network.classes.names()
        self.fixed = self.network.index_of(self.options.target) if self._target_is_class else None

    @property
    def _target_is_class(self) -> bool:
        return self.options.target not in {"predicted", "label"}

    def fit(self, names: Sequence[str], tell: Tell) -> None:
        """Fits explainers on the pictures and saves them, so that they can be loaded elsewhere."""
        fit = PictureFit(self.network, self.pictures, self.label_of, self.options)
        for name in names:
            self.explainers[name], told = fit.fitted(name)
            folder = self.options.out / EXPLAINERS / name
            self.explainers[name].save(folder)
            tell("fitted", f"{name}: {told}; saved in {folder}")

    def label_of(self, picture: Picture) -> int | None:
        """The class of a picture by its folder."""
        return self.labels.of(picture.folder)

    def write(self) -> Explained:
        """Explains all pictures; writes the overlays, the table and the report."""
        options, metrics = self.options, dict[str, float]()
        with (
            atomic_folder(options.out / FOLDER, KIND) as staging,
            Background("overlays") as background,
            progress_bar("explaining", len(self.pictures), shown=True, unit="pictures") as advance,
        ):
            folder = PredictionsFolder(staging, self.names, self.network.preprocessing)
            is_small = len(self.pictures) <= MOST_ORIGINALS
            predicted = self._all(folder, background, advance, metrics)
            report = write_gallery(
                options.out / REPORT,
                (gallery_entry(one, self.network.preprocessing, with_original=is_small) for one in predicted),
                title=f"{self.network.backbone.options.name} on {options.images.resolve().name}",
                metrics=metrics,
                class_names=self.names,
                settings=self.settings(),
                texts={name: explainer.heatmap_texts() for name, explainer in self.explainers.items()},
            )
            folder.write_table()
        return Explained(write_run_index(options.out), report, options.out / FOLDER / TABLE, metrics, self.left_out())

    def _all(
        self,
        folder: PredictionsFolder,
        background: Background,
        advance: Callable[[int], None],
        metrics: dict[str, float],
    ) -> Iterator[Predicted]:
        """Each picture with its explanations, once its overlays are being written; at the end the figures are known."""
        for batch, count in self.pictures.batches(self.network.preprocessing, self.options.batch_size):
            for one in self._explained(batch):
                self._count(one)
                folder.add_row(one)
                background.call(folder.write, one)
                yield one
            advance(count)
        self.pictures.check_any_read()
        if not folder.rows:
            raise ValueError(
                "No explainer has a head for the class of any picture; add a method such as GradCAM to --with."
            )
        background.wait()
        metrics |= self.metrics(len(folder.rows))

    def _explained(self, batch: Sequence[Picture]) -> list[Predicted]:
        if not batch:
            return []
        images = stacked(batch, self.network.device)
        with torch.no_grad():
            logits = self.network.backbone(images).logits.float()
        labels = [self.label_of(picture) for picture in batch]
        target = self._targets(labels, logits)
        rows: list[dict[str, Explanation]] = [{} for _ in batch]
        for names, able in self._able(target):
            if not names or not able:
                continue
            explainers = {name: self.explainers[name] for name in names}
            found = explain_together(explainers, images[able], logits[able], target[able])
            for name, explanation in found.items():
                of_network = explanation.cpu()
                for place, row in enumerate(able):
                    rows[row][name] = of_network[place : place + 1]
        all_rows = zip(batch, labels, _in_order(rows, self.explainers), strict=True)
        predicted = [Predicted(*one) for one in all_rows if one[2]]
        self.without_head += len(batch) - len(predicted)
        return predicted

    def _targets(self, labels: Sequence[int | None], logits: Tensor) -> Tensor:
        """(B,) classes to explain."""
        predicted = logits.argmax(dim=1)
        if self.fixed is not None:
            return torch.full_like(predicted, self.fixed)
        if self.options.target == "predicted":
            return predicted
        known = [index if label is None else label for label, index in zip(labels, predicted.tolist(), strict=True)]
        return torch.tensor(known, device=predicted.device)

    def _able(self, target: Tensor) -> Iterator[tuple[list[str], list[int]]]:
        """Explainers with the rows whose class they can explain; those without heads of their own explain all."""
        heads = {name: heads_of(one) for name, one in self.explainers.items()}
        every = [name for name, classes in heads.items() if classes is None]
        yield every, list(range(len(target)))
        for name, classes in heads.items():
            if classes is not None:
                yield [name], [row for row, index in enumerate(target.tolist()) if index in classes]

    def _count(self, one: Predicted) -> None:
        prediction = int(one.any.prediction[0])
        self.predicted[self.names[prediction]] += 1
        if one.label is not None:
            self.correct.append(one.label == prediction)

    def left_out(self) -> list[str]:
        """A sentence for each picture that could not be read, and one for those that nothing explains."""
        told = f"{self.without_head} pictures of classes without a head; add a method such as GradCAM to --with."
        return [*self.pictures.unreadable, *([told] if self.without_head else [])]

    def metrics(self, count: int) -> dict[str, float]:
        """Figures of the run so far."""
        accuracy = {"accuracy": sum(self.correct) / len(self.correct)} if self.correct else {}
        return {"pictures": float(count), "classes predicted": float(len(self.predicted)), **accuracy}

    def settings(self) -> dict[str, str]:
        """What the report says of the run."""
        backbone = self.network.backbone.options
        return {
            "Backbone": backbone.name,
            "Weights": str(backbone.weights or "its own, or random"),
            "Classes": f"{self.network.classes.count} ({self.network.names_from})",
            "Explained": _explained_class(self.options),
            "Explainers": ", ".join(self.explainers),
            "Labels": self.labels.told,
            "Seed": str(self.options.seed),
            "Command": self.options.command,
        }


def heads_of(explainer: Explainer) -> set[int] | None:
    """The classes that an explainer was fitted on; None for one that explains any."""
    if isinstance(explainer, MuLassoExplainer):
        return set(explainer.weights.detach().any(dim=0).nonzero().flatten().tolist())
    return set(explainer.explained_classes) or None


def _in_order(rows: Sequence[Mapping[str, Explanation]], names: Mapping[str, object]) -> list[dict[str, Explanation]]:
    return [{name: row[name] for name in names if name in row} for row in rows]


def _explained_class(options: ExplainOptions) -> str:
    known = {"predicted": "the predicted class", "label": "the label, or the prediction where it has none"}
    return known.get(options.target, f"class {options.target}")


def _tell_beginning(
    tell: Tell,
    options: ExplainOptions,
    network: ExplainedNetwork,
    pictures: Pictures,
    labels: FolderLabels,
    chosen: ChosenExplainers,
) -> None:
    backbone = network.backbone.options
    weights = backbone.weights or ("random: maps mean nothing" if backbone.has_random_weights else "its own")
    tell("model", f"{backbone.name}, weights: {weights}")
    tell("classes", f"{network.classes.count}, names: {network.names_from}")
    tell("pictures", f"{len(pictures)} in {options.images}")
    tell("labels", labels.told)
    tell("explained", f"{_explained_class(options)}, by {', '.join([*chosen.ready, *chosen.fitted])}")
    for note in [*pictures.notes, *chosen.notes]:
        tell("note", note)
