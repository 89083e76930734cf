"""The tables and figures of Oramas, Wang and Tuytelaars (2019), by their files, on tiny sets in the official layouts."""

from collections.abc import Sequence
from pathlib import Path

import pytest

import train
from experiments.planning import Places
from experiments.reading import find_experiment
from experiments.running import Runner
from experiments.tables import Cells, read_cells, write_tables
from tests.helpers import image_sets as sets
from tests.helpers.bird_sets import write_cub

ROOT = Path(__file__).parents[2]
DRAWN = {
    "n02099601": "golden retriever", "n02782093": "balloon", "n02948072": "candle, taper", "n07892512": "red wine",
    "n09428293": "seashore, coast", "n07747607": "orange", "n03028079": "church", "n02980441": "castle",
    "n02487347": "macaque", "n02391049": "zebra", "n01514859": "hen",
    "n01558993": "robin, American robin", "n01582220": "magpie",
}  # fmt: skip
"""The classes of figure 14."""


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where all experiments write, so that they share runs."""
    return tmp_path_factory.mktemp("out")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of data sets: digits, birds, classes of ImageNet, and cities."""
    folder = tmp_path_factory.mktemp("data")
    sets.write_mnist(folder / "MNIST", per_class=6)
    write_cub(folder / "CUB_200_2011", classes=2, train=4, test=2, size=40)
    cats = find_experiment("fig4_imagenet_cats").common["data.init_args.classes"]
    words = {**dict(zip(cats, cats, strict=True)), **DRAWN}
    lines = "".join(f"{wnid} {name}\n" for wnid, name in words.items())
    sets.write_text(folder / "imagenet" / "LOC_synset_mapping.txt", lines)
    for root, classes in (("imagenet", list(words)), ("fashion144k_cities", ["london", "paris"])):
        for split in ("train", "val" if root == "imagenet" else "test"):
            for place, name in enumerate(classes):
                sets.write_picture(folder / root / split / name / f"{name}_{split}.JPEG", place, (40, 40))
                sets.write_picture(folder / root / split / name / f"{name}_{split}_2.JPEG", 100 + place, (40, 40))
    return folder


@pytest.fixture(autouse=True)
def _in_repository(monkeypatch: pytest.MonkeyPatch) -> None:
    """Flowers are rendered in this process, as others would take longer to start."""
    monkeypatch.chdir(ROOT)
    monkeypatch.setattr("sys.argv", ["train.py"])
    monkeypatch.setattr("os.cpu_count", lambda: 1)


def run_train(arguments: Sequence[str]) -> None:
    train.main(list(arguments))


def run_tiny(name: str, data: Path, out: Path, *only: str) -> Cells:
    """Runs an experiment on a tiny set; returns the measured cells of its table by row."""
    experiment, places = find_experiment(name), Places(data, out, tiny=True)
    Runner(experiment, places, run_train).run(only)
    assert write_tables(experiment, places) is not None
    return {
        label: row for label, row in read_cells(experiment, places).items() if any(cell.values for cell in row.values())
    }


def test_table_1(data: Path, out: Path) -> None:
    """One fold of one variant: every row is measured, and the flower of that fold alone is rendered."""
    cells = run_tiny("table1_single_6c", data, out, "methods-3")
    assert set(cells) == set(find_experiment("table1_single_6c").table.rows)  # type: ignore[union-attr]
    assert all(len(cell.values) == 1 and cell.runs == 5 for row in cells.values() for cell in row.values())
    rendered = out / "shards" / "an8flower"
    assert [folder.name for folder in rendered.iterdir()] == ["single-6c-3"]
    assert '"test_fold": 3' in (rendered / "single-6c-3" / "settings.json").read_text()


@pytest.mark.parametrize(("name", "variant"), [("table1_double_12c", "double-12c"), ("table1_part_2c", "part-2c")])
def test_other_variants_of_table_1(name: str, variant: str) -> None:
    experiment = find_experiment(name)
    assert experiment.common["data.init_args.render"]["variant"] == variant
    assert experiment.common["data.init_args.shards"] == f"${{out}}/shards/an8flower/{variant}-${{each}}"
    assert bool(experiment.table and experiment.table.paper) == (variant == "double-12c")


def test_digits(data: Path, out: Path) -> None:
    cells = run_tiny("fig4_mnist", data, out)
    assert set(cells) == {"All", "OnlyConv"}
    assert all(len(cell.values) == 1 for row in cells.values() for cell in row.values())
    curve = run_tiny("fig9_mnist", data, out, "all-2")
    assert set(curve) == {"All μ = 2"}


@pytest.mark.parametrize(
    ("name", "run", "row"),
    [
        ("fig4_imagenet_cats", "all", "All"),
        ("fig4_fashion144k", "only_conv", "OnlyConv"),
        ("fig4_imagenet", "all", "All"),
    ],
)
def test_filters_of_sets_that_are_not_at_hand(name: str, run: str, row: str, data: Path, out: Path) -> None:
    cells = run_tiny(name, data, out, run)
    assert set(cells) == {row}
    assert cells[row]["filters"].mean > 0
    assert 0 <= cells[row]["without them"].mean <= 100
    sheets = sorted((out / "oramas2019" / name / run / "average_images").glob("*.png"))
    assert 0 < len(sheets) <= {"fig4_fashion144k": 2}.get(name, 13)


def test_box_occlusion(data: Path, out: Path) -> None:
    cells = run_tiny("section4_2_box_occlusion", data, out, "squeezenet")
    assert {name for name in cells if name.startswith("SqueezeNet")} == set(cells)
    assert len(cells) == 8


def test_scalings_and_the_grid(data: Path, out: Path) -> None:
    cells = run_tiny("scalings", data, out, "width-1")
    assert set(cells) == {"width, μ = 1"}
    assert cells["width, μ = 1"]["filters a class"].mean > 0
    grid = run_tiny("fig7_grid", data, out, "deconv_gb")
    assert 0 <= grid["Deconv+GB"]["power at period 2, %"].mean <= 100


def test_networks_of_other_kinds_on_the_flowers(data: Path, out: Path) -> None:
    cells = run_tiny("flower/networks", data, out, "convnext_methods")
    assert {label for label in cells if label.startswith("ConvNeXt, ")} == set(cells)
    assert len(cells) == 13
    assert cells["ConvNeXt, Center"]["area, %"].mean > 0
