"""The table of methods in docs/attribution.md, which is made from the attributes of their classes.

``python tests/vitrine/attribution/test_docs_table.py`` writes it.
"""

from pathlib import Path

from vitrine.attribution import Method
from vitrine.attribution.registry import all_methods

PAGE = Path(__file__).parents[3] / "docs" / "attribution.md"
BEGIN, END = "<!-- methods: begin -->\n", "<!-- methods: end -->\n"
COLUMNS = ("method", "paper", "explains", "map", "signed", "draws a target layer", "slow", "the network needs")


def row(name: str, method: type[Method]) -> tuple[str, ...]:
    explained = {"classes": method.explains_classes, "channels": method.explains_channels}
    return (
        f"`{name}`",
        method.paper,
        ", ".join(kind for kind, is_explained in explained.items() if is_explained),
        "(B, C, H, W)" if method.gradient_like else "(B, 1, H, W)",
        yes(method.signed),
        yes(method.draws_target_layer),
        yes(method.slow),
        method.network_requirement,
    )


def yes(holds: bool) -> str:
    return "yes" if holds else ""


def table() -> str:
    rows = [COLUMNS, ("---",) * len(COLUMNS), *(row(name, method) for name, method in all_methods().items())]
    return "".join(f"| {' | '.join(cells)} |\n".replace("|  |", "| |").replace("|  |", "| |") for cells in rows)


def parts(page: str) -> tuple[str, str, str]:
    before, rest = page.split(BEGIN)
    written, after = rest.split(END)
    return before, written, after


def test_the_table_in_the_docs_is_that_of_the_classes() -> None:
    _, written, _ = parts(PAGE.read_text(encoding="utf-8"))
    assert written == table(), f"run python {Path(__file__).relative_to(PAGE.parents[1])}"


if __name__ == "__main__":
    text_before, _, text_after = parts(PAGE.read_text(encoding="utf-8"))
    PAGE.write_text(text_before + BEGIN + table() + END + text_after, encoding="utf-8")
