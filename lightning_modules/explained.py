"""Explained classes: which classes of each image a run explains, and explanations with a row for each of them."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Literal

import torch
from torch import Tensor

from vitrine.core.batch import Batch, repeat_rows
from vitrine.core.explanation import Explanation, class_name

Explain = Literal["predicted", "prediction", "label", "both", "top_k", "every_class"]
"""Which classes of an image are explained: the one that is ``predicted`` (``prediction`` is its earlier name); its ``label``,
each of them if it has several; ``both``; the ``top_k`` most probable ones; or ``every_class``, its labels and the classes
of its boxes. An image without a label, or whose label has no head, is explained by its prediction."""

Logits = Callable[[Tensor], Tensor]
"""(B, C) logits of (B, 3, H, W) images."""


def explained_rows(batch: Batch, explain: Explain, top_k: int, logits: Logits, heads: Sequence[int] = ()) -> Batch:
    """The images to explain, with the explained class as ``label``: several rows of an image, one after the other.

    Args:
        batch: B images, whose labels are class indices of the network.
        explain: which classes; with ``predicted`` the batch comes back as it is, as it does without labels to explain.
        top_k: how many classes of an image are explained with ``top_k``.
        logits: of the network; asked for where predictions are needed.
        heads: the classes that can be explained, of an explainer with heads of some alone; all of them without any.

    Returns:
        R rows; each image has at least one.
    """
    if explain in {"predicted", "prediction"}:
        return batch
    wanted = _annotated(batch, explain)
    if explain not in {"top_k", "both"} and (wanted is None or _are_single(batch, wanted, heads)):
        return batch
    classes = [_with_head(of_image, heads) for of_image in wanted or [[]] * len(batch["image"])]
    if explain in {"top_k", "both"} or not all(classes):
        count = top_k if explain == "top_k" else 1
        ranked = _most_probable(logits(batch["image"]), count, heads)
        classes = _joined(classes, ranked, explain)
    rows = torch.tensor([image for image, of_image in enumerate(classes) for _ in of_image], dtype=torch.int64)
    labels = torch.tensor([index for of_image in classes for index in of_image], dtype=torch.int64)
    repeated = repeat_rows(batch, rows)
    repeated["label"] = labels.to(batch["image"].device)
    return repeated


def target_of(rows: Batch, explain: Explain) -> Tensor | None:
    """(R,) classes to explain, of what `explained_rows` gave; None for what is predicted."""
    label = rows.get("label")
    return None if explain in {"predicted", "prediction"} or label is None or label.ndim != 1 else label


def _annotated(batch: Batch, explain: Explain) -> list[list[int]] | None:
    """The classes of each image by its labels, and for ``every_class`` by its boxes; None of images that have neither."""
    label = batch.get("label")
    if explain == "top_k" or label is None or (label.ndim == 2 and not label.shape[1]):
        return None
    if label.ndim == 1:
        classes = [[index] if index >= 0 else [] for index in label.tolist()]
    else:
        classes = [row.nonzero().flatten().tolist() for row in label]
    if explain == "every_class" and "box_labels" in batch:
        boxes = [sorted(set(labels.tolist())) for labels in batch["box_labels"]]
        classes = [list(dict.fromkeys([*own, *of_boxes])) for own, of_boxes in zip(classes, boxes, strict=True)]
    return classes


def _are_single(batch: Batch, classes: Sequence[Sequence[int]], heads: Sequence[int]) -> bool:
    """Whether the batch's own labels are the explained classes as they are."""
    label = batch["label"]
    return label.ndim == 1 and all(len(_with_head(of_image, heads)) == len(of_image) == 1 for of_image in classes)


def _with_head(classes: Sequence[int], heads: Sequence[int]) -> list[int]:
    return [index for index in classes if not heads or index in heads]


def _most_probable(logits: Tensor, count: int, heads: Sequence[int]) -> list[list[int]]:
    """The classes of highest logit of each image, among those with a head."""
    if heads:
        kept = torch.tensor(list(heads), device=logits.device)
        return [kept[row].tolist() for row in logits[:, kept].topk(min(count, len(heads)), dim=1).indices]
    found: list[list[int]] = logits.topk(min(count, logits.shape[1]), dim=1).indices.tolist()
    return found


def _joined(classes: Sequence[Sequence[int]], ranked: Sequence[Sequence[int]], explain: Explain) -> list[list[int]]:
    """Predictions first where they are asked for, and in place of labels that are not there."""
    if explain == "top_k":
        return [list(of_image) for of_image in ranked]
    if explain == "both":
        return [list(dict.fromkeys([*first, *own])) for own, first in zip(classes, ranked, strict=True)]
    return [list(own or first) for own, first in zip(classes, ranked, strict=True)]


def first_of_each_image(explanation: Explanation, keys: Sequence[str]) -> Explanation:
    """Of an explanation with several rows an image, one after the other, the first of each.

    Args:
        explanation: of R rows.
        keys: R names of the rows' images.
    """
    starts = _starts(keys)
    if len(starts) == len(keys):
        return explanation
    return Explanation.cat([explanation[row : row + 1] for row in starts])


def joined_of_each_image(explanation: Explanation, keys: Sequence[str], class_names: Sequence[str]) -> Explanation:
    """Of an explanation with several rows an image, one row an image that has the heatmaps of all of them.

    Args:
        explanation: of R rows, with K heatmaps each.
        keys: R names of the rows' images; rows of an image stand one after the other.
        class_names: of the network, by which heatmaps are told apart.

    Returns:
        Of B images, with K heatmaps for each of an image's classes; the target is the first of them.
    """
    starts = _starts(keys)
    if len(starts) == len(keys):
        return explanation
    groups = [slice(start, end) for start, end in zip(starts, [*starts[1:], len(keys)], strict=True)]
    most = max(group.stop - group.start for group in groups)
    first = Explanation.cat([explanation[group.start : group.start + 1] for group in groups])
    labels = [
        [
            f"{class_name(class_names, int(explanation.target[row]))}: {label}" if label else ""
            for row in range(group.start, group.stop)
            for label in explanation.labels[row]
        ]
        for group in groups
    ]
    width = most * explanation.scores.shape[1]
    return replace(
        first,
        heatmaps=torch.stack([_padded(explanation.heatmaps[group], width) for group in groups]),
        scores=torch.stack([_padded(explanation.scores[group], width) for group in groups]),
        valid=torch.stack([_padded(explanation.valid[group], width) for group in groups]),
        labels=[row + [""] * (width - len(row)) for row in labels],
        kinds=None,
    )


def _padded(values: Tensor, length: int) -> Tensor:
    """(length, …) of (r, K, …): all K of all r rows, then zeros."""
    flat = values.flatten(0, 1)
    return torch.cat([flat, flat.new_zeros(length - len(flat), *flat.shape[1:])])


def _starts(keys: Sequence[str]) -> list[int]:
    return [row for row, key in enumerate(keys) if row == 0 or key != keys[row - 1]]
