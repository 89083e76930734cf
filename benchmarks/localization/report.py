"""Report: the results as one JSON file, which is continued, and the tables."""

import argparse
import json
from collections.abc import Mapping
from typing import Any

from benchmarks.common import show, write_figures
from benchmarks.localization.subjects import Subject
from benchmarks.method_maps import show_notes
from vitrine.core.atomic_io import atomic_file


class FiguresFile:
    """Figures by set, network and method.

    Args:
        args: name the file as ``out``, and whether to go on with what it has as ``resume``.

    Raises:
        ValueError: where it is to go on with a file that holds something else.
    """

    def __init__(self, args: argparse.Namespace) -> None:
        self.args = args
        self.sets: dict[str, dict[str, dict[str, Any]]] = {}
        if args.resume and args.out.is_file():
            try:
                self.sets = json.loads(args.out.read_text(encoding="utf-8"))["sets"]
            except (ValueError, KeyError) as error:
                raise ValueError(f"{args.out} has no figures of this benchmark to go on with: {error!r}.") from error

    def begin(self, subject: Subject, entries: dict[str, Any]) -> None:
        """Puts what is known of a network, in place of all that was there."""
        self.sets.setdefault(subject.images.name, {})[subject.network.name] = entries | {"methods": {}}

    def is_of(self, subject: Subject, settings: dict[str, Any]) -> bool:
        """Whether there is something of a network, with these settings."""
        found = self.sets.get(subject.images.name, {}).get(subject.network.name)
        return found is not None and bool(found["settings"] == _plain(settings))

    def has(self, subject: Subject, name: str, settings: dict[str, Any]) -> bool:
        """Whether there are figures of a row, with these settings."""
        found = self._methods(subject).get(name, {"refused": ""})
        return "refused" not in found and bool(found["settings"] == _plain(settings))

    def put(self, subject: Subject, name: str, found: dict[str, Any]) -> None:
        """Takes in a row, and writes the file."""
        self._methods(subject)[name] = found
        with atomic_file(self.args.out) as partial:
            write_figures(partial, self.args, {"sets": self.sets})

    def _methods(self, subject: Subject) -> dict[str, Any]:
        methods: dict[str, Any] = self.sets[subject.images.name][subject.network.name]["methods"]
        return methods


def _plain(settings: dict[str, Any]) -> Any:
    """As JSON gives them back."""
    return json.loads(json.dumps(settings))


ERRORS = ("method", "error %", "95 %", "α", "in hindsight (α)", "component (α)")
OTHERS = ("method", "error on the slow methods' images %", "pointing %", "degenerate", "images", "s an image")


def show_tables(sets: Mapping[str, Mapping[str, Any]]) -> None:
    """Two tables for each network of each set."""
    for images, networks in sets.items():
        for network, found in networks.items():
            title = f"Localisation error on {images}, {network}, layer {found['layer']}; top-1 accuracy"
            methods = found["methods"]
            measured = {name: row for name, row in methods.items() if "refused" not in row}
            show(
                f"{title} {percent(found['accuracy'])} %", ERRORS, [[name, *errors(methods[name])] for name in methods]
            )
            show("Other figures", OTHERS, [[name, *others(row)] for name, row in measured.items()])
            show_notes({name: {"options": row["settings"]["options"]} | row for name, row in methods.items()})


def errors(found: Mapping[str, Any]) -> list[str]:
    """The row of a method, without its name."""
    if "refused" in found:
        return ["refused", *[""] * (len(ERRORS) - 2)]
    own_alphas = [
        f"{percent(found[of]['error'])} ({found[of]['alpha']})" if found[of] else ""
        for of in ("hindsight", "component")
    ]
    return [percent(found["error"]), "–".join(map(percent, found["interval"])), str(found["alpha"]), *own_alphas]


def others(found: Mapping[str, Any]) -> list[str]:
    """The row of a method that was measured, without its name."""
    pointing = "" if found["pointing"] is None else percent(found["pointing"])
    counts = str(found["degenerate"]), str(found["images"]), f"{found['seconds_per_image']:.3f}"
    return [percent(found["error_on_slow_images"]), pointing, *counts]


def percent(share: float) -> str:
    """With one digit after the point."""
    return f"{100 * share:.1f}"
