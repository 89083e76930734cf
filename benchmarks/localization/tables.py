"""Prints the figures."""

from collections.abc import Mapping
from typing import Any

from benchmarks.common import show
from benchmarks.method_maps import show_notes

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
