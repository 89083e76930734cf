"""Saving of explainers: ``explainer.json``, the heads, the backbone's weights, a card, and the names that a person gave."""

import json
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

from safetensors.torch import save_file

from vitrine.core.atomic_io import atomic_folder
from vitrine.core.folder_manifest import FolderKind, read_contents
from vitrine.core.tensor_checks import check_tensors
from vitrine.explainers.backbone_entry import backbone_entry, save_backbone, stands_in_a_table
from vitrine.explainers.card import CARD_NAME, card_text
from vitrine.explainers.names import NAMES_NAME, has_names, write_joined_names

if TYPE_CHECKING:
    from vitrine.explainers.base import Explainer

FORMAT_VERSION = 1
CONFIG_NAME = "explainer.json"
HEADS_NAME = "explainer.safetensors"
BACKBONE_NAME = "backbone.safetensors"
SAVED = FolderKind(
    CONFIG_NAME,
    hand_written=(NAMES_NAME, f"{NAMES_NAME}.old*"),
    earlier=(CONFIG_NAME, HEADS_NAME, BACKBONE_NAME),
    signature='"weight_digest"',
)


def save_explainer(
    explainer: "Explainer", folder: Path, *, bundle_backbone: bool | None, metadata: dict[str, Any]
) -> None:
    """Writes an explainer's folder as a whole; see `Explainer.save`.

    Raises:
        ValueError: for heads that are NaN or infinite.
        FileExistsError: where ``folder`` holds what would be lost.
    """
    with atomic_folder(folder, SAVED) as partial:
        _write(explainer, partial, bundle_backbone=bundle_backbone, metadata=metadata)
        _write_names(explainer, partial, replaced=folder)
        if Path(CARD_NAME) not in read_contents(folder, SAVED).foreign:  # a person's own page stays
            config = json.loads((partial / CONFIG_NAME).read_text(encoding="utf-8"))
            (partial / CARD_NAME).write_text(
                card_text(config, holds_weights=(partial / BACKBONE_NAME).is_file()), encoding="utf-8"
            )


def _write(explainer: "Explainer", folder: Path, *, bundle_backbone: bool | None, metadata: dict[str, Any]) -> None:
    backbone, kind = explainer.backbone, type(explainer)
    is_bundled = not stands_in_a_table(backbone) if bundle_backbone is None else bundle_backbone
    heads = {name: value.contiguous() for name, value in explainer.head_state().items()}
    check_tensors(heads, heads, f"The heads of this {kind.__name__} are not saved")
    entry = backbone_entry(backbone, getattr(explainer, "num_classes", None), is_bundled=is_bundled)
    known = json.loads(backbone.arguments or "{}")
    config = {
        "format_version": FORMAT_VERSION,
        "explainer": kind.__name__,
        "class_path": class_path(kind),
        "options": explainer.options.to_dict(),
        "classes": explainer.classes,
        "multi_label": explainer.multi_label,
        "backbone": entry,
        "weight_digest": backbone.digest,
        "backbone_arguments": backbone.arguments if entry["arguments"] == known else None,
        "preprocessing": explainer.preprocessing.to_dict() if explainer.preprocessing else None,
        "metadata": metadata,
    }
    (folder / CONFIG_NAME).write_text(json.dumps(config, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    save_file(heads, folder / HEADS_NAME)
    if is_bundled:
        save_backbone(backbone, folder / BACKBONE_NAME, entry["num_classes"], explainer.classes)


def _write_names(explainer: "Explainer", folder: Path, replaced: Path) -> None:
    kept_name = write_joined_names(folder, replaced, explainer.heatmap_names, explainer.heatmap_counts())
    names, heads = replaced / NAMES_NAME, replaced / HEADS_NAME
    if kept_name is None and has_names(names) and heads.read_bytes() != (folder / HEADS_NAME).read_bytes():
        warnings.warn(f"{names} was written for other heads than those saved now; see if its names fit.", stacklevel=4)
    if kept_name is not None:
        warnings.warn(
            f"{names} does not fit this explainer in all that it says; it is kept as {replaced / kept_name}.",
            stacklevel=4,
        )


def class_path(kind: type) -> str:
    """``module:ClassName``, by which explainers are registered and saved."""
    return f"{kind.__module__}:{kind.__qualname__}"
