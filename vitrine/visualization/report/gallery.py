"""HTML gallery: writes ``index.html``, its cards as data, and its pictures, image by image."""

from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import torch

from vitrine.core.atomic_io import atomic_folder
from vitrine.core.folder_manifest import FolderKind
from vitrine.core.heatmap_texts import HeatmapTexts
from vitrine.visualization.report.cards import card
from vitrine.visualization.report.document import script_json
from vitrine.visualization.report.entry import GalleryEntry
from vitrine.visualization.report.page import page
from vitrine.visualization.report.tiles import IMAGES
from vitrine.visualization.scale import blur_note

GALLERY = FolderKind(
    "index.html",
    earlier=("index.html", "images/[0-9][0-9][0-9][0-9]*.webp"),
    signature="Each heatmap shows where one feature finds its evidence.",
)
CARDS = "cards.js"
"""The cards, as a script that sets ``galleryCards``: pages opened from a file may load scripts, but fetch nothing."""


def write_gallery(
    folder: Path,
    entries: Iterable[GalleryEntry],
    *,
    title: str,
    metrics: Mapping[str, float],
    class_names: Sequence[str],
    settings: Mapping[str, str] | None = None,
    texts: HeatmapTexts | Mapping[str, HeatmapTexts] | None = None,
    sigma: float | None = None,
) -> Path:
    """Writes a static page with its pictures and returns the path of its ``index.html``.

    The page loads nothing from the network. Entries are taken one after the other, and none is kept once its pictures are
    written: a generator may give any number of them.

    Args:
        folder: of the gallery; an earlier gallery is replaced atomically, and other files in it are kept.
        entries: the images, in the order in which the page lists them where their labels are unknown.
        title: heading of the page.
        metrics: values of the table at the top; see `vitrine.core.figures` for what they mean.
        class_names: names of the first classes, of all or fewer.
        settings: further information, such as the explainer and its data, shown beside the metrics.
        texts: what the heatmaps show, of all methods or by the method's name; see `Explainer.heatmap_texts`.
        sigma: of the Gaussian for display, in pixels of the images; 2 % of the longer side without it.

    Raises:
        FileExistsError: where ``folder`` is not of a gallery, or a file of the gallery was changed since.

    Example:
        >>> from tempfile import TemporaryDirectory
        >>> from vitrine.core.explanation import Explanation
        >>> zero, logits = torch.zeros(1, dtype=torch.int64), torch.zeros(1, 2)
        >>> shown = Explanation(torch.rand(1, 1, 8, 8), torch.ones(1, 1), [["a"]], zero, zero, logits)
        >>> entries = (GalleryEntry(f"image {n}", torch.rand(3, 8, 8), (0,), shown) for n in range(3))
        >>> with TemporaryDirectory() as folder:
        ...     write_gallery(Path(folder, "report"), entries, title="t", metrics={}, class_names=["ant", "bee"]).name
        'index.html'
    """
    with atomic_folder(folder, GALLERY) as staging:
        (staging / IMAGES).mkdir()
        texts_of = _TextsOf(texts or HeatmapTexts())
        named = ((staging, f"{n:04d}", entry, class_names, texts_of, sigma) for n, entry in enumerate(entries, start=1))
        seen = write_cards(staging / CARDS, _cards(named))
        html = page(
            title=title,
            metrics=metrics,
            settings=settings or {},
            texts={method: texts_of(method) for method in seen.methods or [""]},
            cards=CARDS,
            count=seen.images,
            blurred=blur_note(sigma),
        )
        (staging / "index.html").write_text(html, encoding="utf-8")
    return folder / "index.html"


@dataclass(frozen=True)
class _TextsOf:
    """The texts of a method by its name."""

    given: HeatmapTexts | Mapping[str, HeatmapTexts]

    def __call__(self, method: str) -> HeatmapTexts:
        return self.given if isinstance(self.given, HeatmapTexts) else self.given.get(method, HeatmapTexts())


class Seen(NamedTuple):
    """What the cards hold together."""

    images: int
    methods: Sequence[str]


def write_cards(path: Path, cards: Iterable[Mapping[str, Any]]) -> Seen:
    """Writes cards, as they come, into the script that a page loads."""
    methods: dict[str, None] = {}
    count = 0
    with path.open("w", encoding="utf-8", errors="backslashreplace") as file:
        file.write("globalThis.galleryCards = [\n")
        for count, one in enumerate(cards, start=1):  # noqa: B007 - the last is their number
            file.write(f"{script_json(one)},\n")
            methods |= dict.fromkeys(group["method"] for group in one["groups"])
        file.write("];\n")
    return Seen(count, list(methods))


def _cards(named: Iterable[Sequence[Any]]) -> Iterator[dict[str, Any]]:
    """The cards in their order, of which a few are drawn at once: Pillow compresses without the interpreter lock."""
    threads, waiting = torch.get_num_threads(), deque[Future[dict[str, Any]]]()
    with ThreadPoolExecutor(threads) as pool:
        try:
            for arguments in named:
                waiting.append(pool.submit(card, *arguments))
                if len(waiting) > 2 * threads:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for one in waiting:
                one.cancel()
