"""Written comparisons: ``compare.csv``, ``.md`` and ``.html`` of tested runs in one folder."""

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from PIL import Image

from vitrine.core.atomic_io import atomic_file
from vitrine.visualization.comparison.comparison import Comparison, ComparisonOptions, read_comparison
from vitrine.visualization.comparison.examples import common_examples, examples_picture
from vitrine.visualization.comparison.page import comparison_page
from vitrine.visualization.comparison.tables import markdown, write_comparison_csv, write_differences_csv

CSV_NAME, MARKDOWN_NAME, PAGE_NAME = "compare.csv", "compare.md", "compare.html"
DIFFERENCES_NAME, PICTURE_NAME = "compare_differences.csv", "compare_images.jpg"


def compare_runs(
    folders: Iterable[Path],
    out: Path,
    *,
    sort: str | None = None,
    figures: Sequence[str] = (),
    resamples: int = 2000,
    seed: int = 0,
    confidence: float = 0.95,
) -> Path:
    """Compares tested runs, writes the comparison into a folder, and returns the path of its table.

    Args:
        folders: of runs that ``train.py test`` has tested; one with a folder ``explainers`` stands for all runs in that.
        out: folder of the comparison, which may hold other files.
        sort: figure by which the methods are sorted, the best first.
        figures: patterns of the figures that are compared; all without one.
        resamples: of the bootstrap.
        seed: of the bootstrap.
        confidence: of the intervals.

    Raises:
        FileNotFoundError: for a folder without a complete test.
        ValueError: for damaged files, tests on different images, and options that make no sense.
    """
    options = ComparisonOptions(sort, tuple(figures), resamples, seed, confidence)
    return write_comparison(read_comparison(folders, options), out)


def write_comparison(comparison: Comparison, out: Path) -> Path:
    """Writes a comparison into a folder, each file atomically, and returns the path of its ``compare.csv``.

    Beside it are ``compare.md``, ``compare.html``, ``compare_differences.csv`` and, where runs have examples,
    ``compare_images.jpg``; earlier ones are replaced.

    Raises:
        NotADirectoryError: where a file has that name.
        ValueError: for damaged examples.
    """
    if out.exists() and not out.is_dir():
        raise NotADirectoryError(f"{out} is a file: give a folder for the comparison.")
    examples = common_examples(comparison.runs)
    shown = examples_picture(examples)
    title = f"{len(comparison.methods)} methods on {comparison.runs[0].data}"
    text = markdown(comparison, title, picture=None if shown is None else PICTURE_NAME)
    page = comparison_page(comparison, title, examples)
    if shown is not None:
        _write(out / PICTURE_NAME, lambda path: _save(shown, path))
    _write(out / DIFFERENCES_NAME, lambda path: write_differences_csv(path, comparison))
    _write(out / MARKDOWN_NAME, lambda path: _write_text(path, text))
    _write(out / PAGE_NAME, lambda path: _write_text(path, page))
    return _write(out / CSV_NAME, lambda path: write_comparison_csv(path, comparison))


def _write(path: Path, write: Callable[[Path], object]) -> Path:
    with atomic_file(path) as partial:
        write(partial)
    return path


def _write_text(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8", errors="surrogateescape")


def _save(image: Image.Image, path: Path) -> None:
    image.save(path, "JPEG", quality=90)
