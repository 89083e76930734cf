"""HTML page of a comparison: table, curves, images and differences in one file that loads nothing; all text is escaped."""

from collections.abc import Mapping, Sequence
from html import escape

from vitrine.visualization.comparison.comparison import Comparison
from vitrine.visualization.comparison.curves import curves_figure
from vitrine.visualization.comparison.example_table import example_table
from vitrine.visualization.comparison.examples import Example, Place
from vitrine.visualization.comparison.html_tables import difference_tables, figures_table, settings_table
from vitrine.visualization.report.document import document


def comparison_page(comparison: Comparison, title: str, examples: Mapping[str, Mapping[Place, Example]]) -> str:
    """The page; sections for which no run has anything are left out."""
    sections = [
        _section("Figures", figures_table(comparison)),
        _section("Curves", _curves(comparison)),
        _section("Images", example_table(examples), _IMAGES_LEAD),
        _section("Differences", difference_tables(comparison), _differences_lead(comparison)),
        _section("Settings", settings_table(comparison)),
    ]
    return document(
        title,
        f"""<header>
<h1>{escape(title)}</h1>
<p class="lead">{_lead(comparison)}</p>
{_notes(comparison.notes())}
</header>
<main>
{"".join(sections)}
</main>""",
        styles=("comparison.css",),
        scripts=("comparison.js",),
    )


_IMAGES_LEAD = (
    "The same images under every method. Each heatmap is drawn over its own maximum, from violet to yellow, and blurred for"
    " display by a Gaussian of 2 % of the longer side. Point at a picture, or tab to it, to see it without its heatmap."
)


def _section(title: str, body: str, lead: str = "") -> str:
    words = f'<p class="lead">{lead}</p>\n' if lead else ""
    return f"<section><h2>{title}</h2>\n{words}{body}\n</section>\n" if body else ""


def _lead(comparison: Comparison) -> str:
    options = comparison.options
    images = max((len(set(run.per_image.keys)) for run in comparison.runs), default=0)
    measured = f"Measured on {images} images. " if images else ""
    return (
        f"{measured}↑ higher is better, ↓ lower is better. The best value is green; ≈ marks one whose difference to the best"
        f" is within chance: the interval of that difference holds 0. Intervals: {100 * options.confidence:g} %, percentiles"
        f" of {options.resamples} bootstrap resamples of the images."
    )


def _notes(notes: Sequence[str]) -> str:
    return f'<ul class="notes">{"".join(f"<li>{escape(note)}</li>" for note in notes)}</ul>' if notes else ""


def _curves(comparison: Comparison) -> str:
    names = dict.fromkeys(name for run in comparison.runs for name in run.curves)
    plots = [
        curves_figure(
            name, {run.name: run.curves[name] for run in comparison.runs if name in run.curves}, comparison.methods
        )
        for name in names
    ]
    body = "\n".join(filter(None, plots))
    return f'<div class="curves">\n{body}\n</div>' if body else ""


def _differences_lead(comparison: Comparison) -> str:
    wrong = 100 * (1 - comparison.options.confidence)
    return (
        "The method of the row minus that of the column, over the images that both measured, with its interval; grey and ≈:"
        f" within chance. Intervals are for each pair by itself: of pairs that do not differ, about {wrong:.2g} % are still"
        " expected outside chance."
    )
