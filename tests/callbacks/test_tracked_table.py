"""W&B's table of a test's images: what each row has, and that it is not made for nobody."""

from pathlib import Path
from typing import Any

import pytest

from callbacks.tracked_table import TrackedTable, figures_of, table_of
from tests.callbacks.test_loggers import FakeWandb
from tests.helpers import explaining_fakes as fakes


class Silent(FakeWandb):
    """Takes what a trainer itself tells a logger."""

    def log_metrics(self, *_: object, **__: object) -> None:
        """Nothing is looked at."""

    def log_graph(self, *_: object, **__: object) -> None:
        """The same."""

    def save(self) -> None:
        """The same."""

    def finalize(self, status: str) -> None:
        """The same."""

    @property
    def save_dir(self) -> str | None:
        return None


def run_test(folder: Path, **options: Any) -> None:
    trainer = fakes.trainer(folder, TrackedTable(num_images=4), **options)
    trainer.test(fakes.module(), datamodule=fakes.FakeData(), verbose=False)


def test_rows_have_image_map_classes_and_figures(tmp_path: Path) -> None:
    (tmp_path / "per_image.csv").write_text("key,target,iou\n" + "".join(f"image-{n},0,{n}\n" for n in range(9)))
    logger = Silent()
    run_test(tmp_path, logger=logger)
    (table,) = [one["images"] for one in logger.fake.sent if "images" in one]
    assert table.columns == ["key", "image", "map", "label", "prediction", "probability", "explained class", "iou"]
    assert len(table.data) == 4
    for row in table.data:
        assert row[1].image.size == row[2].image.size == (fakes.SIZE, fakes.SIZE)
        assert row[4] in fakes.CLASSES
        assert 0 <= row[5] <= 1


def test_without_wandb_nothing_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError

    monkeypatch.setattr(TrackedTable, "_entries", refuse)
    run_test(tmp_path)


def test_figures_are_those_of_the_images_explained_class(tmp_path: Path) -> None:
    path = tmp_path / "per_image.csv"
    path.write_text("key,target,iou,f\n'=a,1,0.5,\na,2,0.25,3\n")
    found = figures_of(path)
    assert found == {("=a", 1): {"iou": "0.5", "f": ""}, ("a", 2): {"iou": "0.25", "f": "3"}}
    assert figures_of(tmp_path / "gone.csv") == {}
    assert table_of([], found).columns[-2:] == ["iou", "f"]
