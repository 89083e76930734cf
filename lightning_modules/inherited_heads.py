"""InheritedHeads: what a fit takes over from an exported explainer by ``init_from``, class by class."""

import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeGuard

from rich.console import Console
from rich.table import Table

from lightning_modules.heads import meaning_of
from vitrine.explainers import Explainer
from vitrine.explainers.config_file import read_config, read_heads
from vitrine.explainers.inheritance import HeadClasses, HeadMap, Inheritance, inherited
from vitrine.explainers.names import NAMES_NAME, Names, parse_names
from vitrine.explainers.srae.x_features import XFeatureExplainer

TABLE_NAME = "init_from.csv"
SHOWN = 8
"""Names of classes that a line of the table shows."""
OF_A_HEAD = re.compile(r"heads\.\d+\.")
"""How names begin of tensors of a head that shares none with others."""
TOLD = {"kept": "kept", "new": "drawn anew", "dropped": "dropped"}


class InheritedHeads:
    """The heads of an exported explainer, which another one begins from.

    They are taken over as they are where the explainer has heads of the same classes, by index; `match` sees to it that each
    class gets the head that is its own, once names are known. Heads of the very same network are matched by its logits,
    others by the names of their classes.

    Args:
        explainer: the one that begins from them.
        folder: of the exported one.
        head_map: which head is which; see `vitrine.explainers.inheritance`.

    Raises:
        FileNotFoundError: where there is none.
        ValueError: where its heads do not fit.
    """

    def __init__(self, explainer: Explainer, folder: Path, head_map: HeadMap = None) -> None:
        self.folder = folder
        self.config = read_config(folder)
        self.same_network = self.config["weight_digest"] == explainer.backbone.digest
        self.head_map: HeadMap = head_map or ("by_index" if self.same_network else None)
        self.inheritance: Inheritance | None = None
        self._check_meaning(explainer)
        explained: Sequence[int] = self.config["options"].get("explained_classes") or []
        if _explains_by_name(explainer) and explained and max(explained) < explainer.num_classes:
            explainer.explain_classes(explained)
        self.loaded_for: list[int] | None = None
        """The classes whose heads were taken over as they are."""
        state = read_heads(folder)
        self.earlier = self._earlier(explainer, state)
        if list(explainer.head_classes) == list(self.earlier.indices) and not isinstance(head_map, Mapping):
            self._told(explainer, lambda: explainer.load_head_state(state))
            self.loaded_for = list(explainer.head_classes)

    def match(self, explainer: Explainer, redraw: Callable[[], None]) -> None:
        """Gives each class the head that is its own, or one that is drawn anew; once.

        Args:
            explainer: the one that begins from the heads, with the names of its classes.
            redraw: draws its heads anew.

        Raises:
            ValueError: where names are needed and not known, or heads do not fit.
        """
        if self.inheritance is not None:
            return
        indices = list(explainer.head_classes)
        names = [explainer.class_name(index) for index in indices]
        known = bool(indices) and names != [f"class {index}" for index in indices]
        classes = HeadClasses(indices, names if known else None)
        try:
            found = inherited(classes, self.earlier, self.head_map)
        except ValueError as error:
            raise ValueError(f"model.init_args.init_from {self.folder}: {error}") from error
        if not (found.is_identity and self.loaded_for == indices):
            redraw()
            self._told(explainer, lambda: explainer.inherit_heads(read_heads(self.folder), found.rows))
        self.inheritance = found

    @property
    def names(self) -> Names:
        """Names that a person gave to the earlier heatmaps, by the class that has them now."""
        path = self.folder / NAMES_NAME
        earlier = parse_names(path) if path.is_file() else {}
        if self.inheritance is None or not self.inheritance.rows:
            return earlier
        pairs = [(row, before) for row, before in enumerate(self.inheritance.rows) if before is not None]
        named = {self.inheritance.classes.name(row): earlier.get(self.earlier.name(before)) for row, before in pairs}
        return {class_name: entries for class_name, entries in named.items() if entries}

    def show(self, explainer: Explainer, folder: Path, note: str) -> None:
        """Prints a line for each group of classes, with ``note`` below, and writes ``init_from.csv`` into a run's folder.

        Args:
            explainer: that began from the heads.
            folder: of the run.
            note: what is known of the backbone, or empty.
        """
        if self.inheritance is None:
            return
        table = Table("heads", "classes", "names", title=f"init_from {self.folder}", title_justify="left")
        for group, names in self.inheritance.groups().items():
            more = ", …" if len(names) > SHOWN else ""
            table.add_row(TOLD[group], str(len(names)), ", ".join(names[:SHOWN]) + more)
        shared = [
            name for name in explainer.head_state() if name not in explainer.class_axes and not OF_A_HEAD.match(name)
        ]
        table.add_row("of no class", "", f"kept: {', '.join(shared[:SHOWN])}" if shared else "none")
        console = Console(highlight=False, markup=False)
        console.print(table)
        if note:
            console.print(note, soft_wrap=True)
        folder.mkdir(parents=True, exist_ok=True)
        self.inheritance.write(folder / TABLE_NAME)

    def metadata(self) -> dict[str, Any]:
        """Numbers of heads for the exported explainer."""
        groups = {} if self.inheritance is None else self.inheritance.groups()
        return {"init_from": {"folder": str(self.folder), **{name: len(classes) for name, classes in groups.items()}}}

    def _earlier(self, explainer: Explainer, state: Mapping[str, Any]) -> HeadClasses:
        """The classes of the saved heads."""
        names = list(self.config["classes"])
        axis = next(iter(explainer.class_axes.items()), None)
        saved = None if axis is None else explainer.with_current_names(state).get(axis[0])
        if not explainer.head_classes and not explainer.class_axes and not isinstance(explainer, XFeatureExplainer):
            indices: Sequence[int] = []
        elif isinstance(explainer, XFeatureExplainer):
            indices = self.config["options"].get("explained_classes") or range(len(names))
        else:
            indices = range(len(names) if saved is None or axis is None else saved.shape[axis[1]])
        known = bool(names) and max(indices, default=0) < len(names)
        return HeadClasses(list(indices), [names[index] for index in indices] if known else None)

    def _check_meaning(self, explainer: Explainer) -> None:
        saved, options = self._options(explainer)
        other = ("explained_classes",)  # which are matched
        if {k: v for k, v in meaning_of(saved).items() if k not in other} != {
            k: v for k, v in meaning_of(options).items() if k not in other
        }:
            raise ValueError(self._refusal(saved, options))

    def _told(self, explainer: Explainer, load: Callable[[], None]) -> None:
        """Does it, with an error in one sentence."""
        try:
            load()
        except ValueError as error:
            raise ValueError(self._refusal(*self._options(explainer), str(error).rstrip("."))) from error

    def _options(self, explainer: Explainer) -> tuple[dict[str, Any], dict[str, Any]]:
        """The options of the saved explainer and of this one."""
        saved, options = {"explainer": self.config["explainer"]}, {"explainer": type(explainer).__name__}
        if saved == options:
            saved |= explainer.options_type.from_dict(self.config["options"]).to_dict()
            options |= explainer.options.to_dict()
        return saved, options

    def _refusal(self, saved: Mapping[str, Any], options: Mapping[str, Any], reason: str = "") -> str:
        other = [
            f"{name} is {saved[name]}, not {options[name]}"
            for name in options
            if name in saved and saved[name] != options[name] and name != "explained_classes"
        ]
        return (
            f"model.init_args.init_from {self.folder}: the saved heads do not fit: {'; '.join(other) or reason}; give"
            " the options that they were trained with, or another folder."
        )


def _explains_by_name(explainer: Explainer) -> TypeGuard[XFeatureExplainer]:
    return isinstance(explainer, XFeatureExplainer) and explainer.options.explained_classes == "by_name"
