"""The figures as one JSON file, written anew after each row, and read again to go on."""

import argparse
import json
from typing import Any

from benchmarks.common import write_figures
from benchmarks.localization.subjects import Subject
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
