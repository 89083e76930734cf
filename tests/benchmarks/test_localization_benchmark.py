"""The localisation benchmark on made sets in their official layouts, with figures that can be computed by hand."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from safetensors.torch import save_file
from scipy.stats import binomtest
from torch import Tensor, nn
from typing_extensions import override

from benchmarks.localization.__main__ import main
from benchmarks.localization.images import batches, read_birds, read_tiny_imagenet, read_wnids
from benchmarks.localization.methods import ROWS
from benchmarks.localization.outcomes import Outcomes, wilson_interval
from benchmarks.method_maps import smoothed
from benchmarks.method_table import Entry
from vitrine.attribution import Method
from vitrine.attribution.targets import Target as MapTarget
from vitrine.backbones.frozen import FrozenBackbone
from vitrine.backbones.networks import build_network
from vitrine.core.explanation import Explanation
from vitrine.data.preprocessing import IMAGENET_MEAN, IMAGENET_STD, Preprocessing
from vitrine.explainers.base import Explainer, Target

Run = Callable[..., dict[str, Any]]
Box = tuple[int, int, int, int]

WNIDS = ["n01440764", "n01443537", "n02106662"]
INNER, OUTER = (20, 24, 40, 44), (10, 12, 50, 52)  # areas 400 and 1600


def red_of(inputs: Tensor) -> Tensor:
    """(B, H, W): the red that a picture has, in 255ths, so that black is 0."""
    return ((inputs[:, 0] * IMAGENET_STD[0] + IMAGENET_MEAN[0]) * 255).round() / 255


class Red(Method):
    """What is red is on."""

    @override
    def maps(self, inputs: Tensor, target: MapTarget) -> Tensor:
        return red_of(inputs)[:, None, None]


class ExplainerOfRed(Explainer):
    """The same as an explainer."""

    @override
    def explain_batch(self, images: Tensor, target: Target) -> Explanation:
        classes = torch.as_tensor(target)
        ones, logits = torch.ones(len(images), 1), torch.zeros(len(images), 12)
        return Explanation(red_of(images)[:, None], ones, [["red"]] * len(images), classes, classes, logits)


def write_picture(path: Path, rectangles: list[tuple[Box, int]], size: tuple[int, int] = (64, 64)) -> None:
    picture = Image.new("RGB", size)
    for box, red in rectangles:
        picture.paste((red, 0, 0), box)
    path.parent.mkdir(parents=True, exist_ok=True)
    picture.save(path, format="PNG")


def row_of(box: Box) -> str:
    """A box as Tiny-ImageNet has it: its last pixels are within."""
    return f"{box[0]}\t{box[1]}\t{box[2] - 1}\t{box[3] - 1}"


@pytest.fixture
def tiny(tmp_path: Path) -> Path:
    """Six training images with a fifth of red around what is red, and four val images of different kinds."""
    root = tmp_path / "tiny-imagenet-200"
    for wnid in WNIDS[:2]:
        rows = [f"{wnid}_{number}.JPEG\t{row_of(INNER)}\n" for number in range(3)]
        for row in rows:
            write_picture(root / "train" / wnid / "images" / row.split()[0], [(OUTER, 51), (INNER, 255)])
        (root / "train" / wnid / f"{wnid}_boxes.txt").write_text("".join(rows))
    (root / "wnids.txt").write_text("\n".join(reversed(WNIDS)))  # the third has no training images here
    pictures: list[tuple[list[tuple[Box, int]], Box]] = [
        ([(OUTER, 51), (INNER, 255)], INNER),  # as those that are tuned on: from 1.5 to 6
        ([(OUTER, 128), (INNER, 255)], INNER),  # a brighter surround: from 2.5 to 4
        ([], (0, 0, 64, 60)),  # a degenerate map
        ([(INNER, 255), ((60, 60, 62, 62), 255)], INNER),  # a dot apart: the box of all is too wide
    ]
    for number, (rectangles, _) in enumerate(pictures):
        write_picture(root / "val" / "images" / f"val_{number}.JPEG", rectangles)
    rows = [f"val_{number}.JPEG\t{WNIDS[2]}\t{row_of(box)}\n" for number, (_, box) in enumerate(pictures)]
    (root / "val" / "val_annotations.txt").write_text("".join(rows))
    (tmp_path / "classes").mkdir()
    for wnid in WNIDS:
        (tmp_path / "classes" / f"{wnid}_name.JPEG").touch()
    return root


@pytest.fixture
def run(tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Runs the command line on the made Tiny-ImageNet, and reads the figures of its only network."""
    monkeypatch.setitem(ROWS, "Red", Entry(Red))

    def command(*options: str) -> dict[str, Any]:
        out = tmp_path / "runs" / "figures.json"
        given = ["--tiny-imagenet", str(tiny), "--wnids", str(tmp_path / "classes"), "--networks", "squeezenet1_0"]
        main([*given, "--size", "64", "--device", "cpu", "--out", str(out), *options])
        figures: dict[str, Any] = json.loads(out.read_text(), parse_constant=pytest.fail)
        found: dict[str, Any] = figures["sets"]["tiny_imagenet"]["squeezenet1_0"]
        return found

    return command


# Figures


def test_the_figures_are_those_by_hand(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    found = run("--methods", "Red", "WholeImage")["methods"]
    red, whole = found["Red"], found["WholeImage"]
    # The mean of a picture that is tuned on is (0.2 · 1200 + 400) / 4096 = 0.156.
    assert (red["alpha"], red["tuning_error"], red["tuning_images"], red["tuning_degenerate"]) == (1.5, 0, 6, 0)
    assert (red["images"], red["error"], red["degenerate"], red["pointing"]) == (4, 0.75, 1, 0.75)
    assert red["hindsight"]["alpha"] == 2.5
    assert red["hindsight"]["error"] == 0.5
    assert (red["component"]["alpha"], red["component"]["error"]) == (1.5, 0.5)
    interval = binomtest(3, 4).proportion_ci(method="wilson")
    assert red["interval"] == pytest.approx([interval.low, interval.high], abs=1e-6)
    expected = {alpha / 2: 1.0 if alpha < 3 or alpha > 12 else 0.75 for alpha in range(21)}
    expected |= dict.fromkeys((2.5, 3.0, 3.5, 4.0), 0.5)
    assert {float(alpha): error for alpha, error in red["errors"].items()} == expected
    assert (whole["alpha"], whole["error"], whole["pointing"], whole["degenerate"]) == (0, 0.75, None, 0)
    assert "WholeImage" in capsys.readouterr().out


def test_slow_methods_see_a_part_of_the_images(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(ROWS, "SlowRed", Entry(Red, slow=True))
    options = ["--methods", "Red", "SlowRed", "--slow-images", "2", "--slow-tuning", "3", "--count", "4"]
    found = run(*options)["methods"]
    slow = found["SlowRed"]
    assert (slow["images"], slow["tuning_images"]) == (2, 3)
    assert slow["error"] == slow["error_on_slow_images"] == found["Red"]["error_on_slow_images"] == 0.5  # 0 and 2


def test_figures_do_not_depend_on_batches(run: Run) -> None:
    timed = {"seconds_per_image"}
    found = [run("--methods", "CAM", "Saliency", "GaussianCentre", "--batch-size", size) for size in ("1", "3")]
    for name, row in found[0]["methods"].items():
        other = found[1]["methods"][name]
        assert {key: row[key] for key in set(row) - timed} == {key: other[key] for key in set(row) - timed}
    assert found[0]["methods"]["Saliency"]["settings"]["blur"] == 0.02
    # A disc of the Gaussian: the maximum is in the middle, which is in all boxes.
    assert found[0]["methods"]["GaussianCentre"]["pointing"] == 1.0


def test_without_the_component(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    found = run("--methods", "Red", "--no-component")["methods"]["Red"]
    assert (found["component"], found["error"]) == (None, 0.75)
    assert "Red" in capsys.readouterr().out


def test_maps_under_bfloat16_are_made_so(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[torch.dtype] = []

    class Multiplied(Red):
        def maps(self, inputs: Tensor, target: MapTarget) -> Tensor:
            seen.append((torch.eye(2, device=inputs.device) @ torch.eye(2, device=inputs.device)).dtype)
            return super().maps(inputs, target)

    monkeypatch.setitem(ROWS, "Multiplied", Entry(Multiplied))
    found = run("--methods", "Multiplied", "--bf16")["methods"]["Multiplied"]
    assert set(seen) == {torch.bfloat16}
    assert found["settings"]["bf16"]
    seen.clear()
    assert not run("--methods", "Multiplied")["methods"]["Multiplied"]["settings"]["bf16"]
    assert set(seen) == {torch.float32}


def test_values_below_0_are_0_before_the_mean_is_taken() -> None:
    maps = torch.full((2, 8, 8), -5.0)
    maps[0, 2:6, 2:6] = 1
    boxes = [torch.tensor([[2.0, 2, 6, 6]])] * 2
    found = Outcomes.of_maps(maps, boxes, 4.0, (1.0,))
    assert found.ious[0].tolist() == [1.0] * 8 + [0.0] * 13  # the mean is a quarter: on up to 3.5
    assert found.component_ious[0].tolist() == [1.0]
    assert found.degenerate == 1
    assert found.ious[1].isnan().all()
    assert found.hits[0] == 1
    assert found.seconds.tolist() == [2, 2]


@pytest.mark.parametrize(("failed", "count"), [(0, 7), (3, 10), (10, 10), (211, 500)])
def test_the_interval_is_wilsons(failed: int, count: int) -> None:
    expected = binomtest(failed, count).proportion_ci(method="wilson")
    assert wilson_interval(failed, count) == pytest.approx((expected.low, expected.high), abs=1e-6)


def test_pixels_are_smoothed_where_the_table_says_so(
    run: Run, tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(ROWS, "Blurred", Entry(Red, blurred=True))
    found = run("--methods", "Blurred", "Red", "--blur", "0.1")["methods"]
    images = read_tiny_imagenet(tiny, tmp_path / "classes")
    part = next(batches(images.measured, Preprocessing(64, None), 4))
    by_hand = Outcomes.of_maps(smoothed(red_of(part.images), 0.1), part.boxes, 0.0, ())
    errors = [1 - float((ious > 0.5).double().mean()) for ious in by_hand.ious.T]
    assert list(found["Blurred"]["errors"].values()) == pytest.approx(errors)
    assert found["Blurred"]["errors"] != found["Red"]["errors"]


# Going on


def test_a_run_goes_on_where_it_stood(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(_model: nn.Module, _layer: str | None) -> Method:
        raise KeyboardInterrupt

    monkeypatch.setitem(ROWS, "Interrupted", Entry(interrupted))
    with pytest.raises(KeyboardInterrupt):
        run("--methods", "Red", "Interrupted")
    monkeypatch.setitem(ROWS, "Red", Entry(interrupted))
    monkeypatch.setitem(ROWS, "Interrupted", Entry(Red))
    found = run("--methods", "Red", "Interrupted", "--resume")["methods"]  # Red is not measured again
    assert found["Red"]["error"] == found["Interrupted"]["error"] == 0.75
    assert set(run("--methods", "WholeImage", "--resume")["methods"]) == {"Red", "Interrupted", "WholeImage"}
    with pytest.raises(KeyboardInterrupt):
        run("--methods", "Red", "--tuning-count", "2", "--resume")
    assert set(run("--methods", "WholeImage")["methods"]) == {"WholeImage"}


def test_a_method_that_refuses_says_why_and_is_tried_again(
    run: Run, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refusing(_model: nn.Module, _layer: str | None) -> Method:
        raise ValueError("no rule for this network")

    monkeypatch.setitem(ROWS, "Sometimes", Entry(refusing))
    assert run("--methods", "Sometimes")["methods"]["Sometimes"]["refused"] == "no rule for this network"
    assert "no rule for this network" in capsys.readouterr().out
    monkeypatch.setitem(ROWS, "Sometimes", Entry(Red))
    assert run("--methods", "Sometimes", "--resume")["methods"]["Sometimes"]["error"] == 0.75


def test_another_file_is_not_gone_on_with(run: Run, tmp_path: Path) -> None:
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs" / "figures.json").write_text('{"networks": {}}')
    with pytest.raises(ValueError, match=r"figures\.json has no figures of this benchmark"):
        run("--methods", "Red", "--resume")


# Birds and explainers


@pytest.fixture
def birds(tmp_path: Path) -> Path:
    """Two training and two test images of two species, 120 wide and 60 high, in the official layout."""
    root, box = tmp_path / "CUB_200_2011", (30, 15, 90, 45)
    numbers = range(1, 5)
    names = {number: f"{'001.Ant' if number % 2 else '002.Bee'}/bird_{number}.jpg" for number in numbers}
    tables = {
        "classes.txt": "1 001.Ant\n2 002.Bee\n",
        "parts/parts.txt": "1 beak\n",
        "images.txt": "".join(f"{number} {name}\n" for number, name in names.items()),
        "image_class_labels.txt": "".join(f"{number} {2 - number % 2}\n" for number in numbers),
        "train_test_split.txt": "".join(f"{number} {int(number < 3)}\n" for number in numbers),
        "bounding_boxes.txt": "".join(f"{number} 30.0 15.0 60.0 30.0\n" for number in numbers),
        "parts/part_locs.txt": "".join(f"{number} 1 40.0 20.0 1\n" for number in numbers),
    }
    for name, text in tables.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    for name in names.values():
        write_picture(root / "images" / name, [(box, 255)], (120, 60))
    return root


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    torch.manual_seed(3)
    path = tmp_path / "classifier.safetensors"
    save_file(build_network("squeezenet1_0", num_classes=2).state_dict(), path, metadata={"num_classes": "2"})
    return path


def test_boxes_follow_images_that_are_squashed(birds: Path) -> None:
    images = read_birds(birds)
    assert [sample.labels for sample in images.tuning] == [[0], [1]]
    part = next(batches(images.measured, Preprocessing(64, None), 4))
    assert part.images.shape == (2, 3, 64, 64)
    assert [boxes.tolist() for boxes in part.boxes] == [[[16, 16, 48, 48]]] * 2


def test_saved_explainers_are_measured_on_their_own_network(birds: Path, weights: Path, tmp_path: Path) -> None:
    backbone = FrozenBackbone(build_network("squeezenet1_0", str(weights)))
    ExplainerOfRed(backbone).save(tmp_path / "red", bundle_backbone=False)
    options = ["--cub", str(birds), "--cub-networks", f"squeezenet1_0={weights}", "squeezenet1_1"]
    options += ["--size", "64", "--device", "cpu", "--methods", "Center", "--slow", "Reds", "--slow-images", "1"]
    main([*options, "--explainers", f"Reds={tmp_path / 'red'}", "--out", str(tmp_path / "figures.json")])
    found = json.loads((tmp_path / "figures.json").read_text())["sets"]["cub"]
    assert [list(found[name]["methods"]) for name in found] == [["Center", "Reds"], ["Center"]]
    reds = found["squeezenet1_0"]["methods"]["Reds"]
    assert (reds["error"], reds["images"], reds["alpha"], reds["pointing"]) == (0.0, 1, 0.0, 1.0)
    with pytest.raises(ValueError, match=r"red was fitted to weights with the digest \w+, which none of the networks"):
        main(
            [*options[:3], *options[4:], "--explainers", f"Reds={tmp_path / 'red'}", "--out", str(tmp_path / "f.json")]
        )


def test_a_network_needs_a_logit_for_each_class(run: Run, weights: Path) -> None:
    with pytest.raises(
        ValueError, match=r"squeezenet1_0 has 2 logits, but images of .* have the class 2; give weights"
    ):
        run("--networks", f"squeezenet1_0={weights}", "--methods", "Red")


# What the user may have got wrong


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ([], "give --tiny-imagenet FOLDER, --cub FOLDER, or both"),
        (["--tiny-imagenet", "tiny"], "--tiny-imagenet needs --wnids PATH"),
        (["--cub", "birds"], "--cub needs --cub-networks NAME=WEIGHTS"),
        (["--cub", "birds", "--cub-networks", "resnet18", "--explainers", "CAM=folder"], "CAM is the name of a method"),
        (
            ["--cub", "birds", "--cub-networks", "resnet18", "--slow", "mine"],
            "mine is the name of none of --explainers",
        ),
    ],
)
def test_options_that_do_not_fit_together(options: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(options)
    assert message in capsys.readouterr().err


def test_damaged_tables_are_named(tiny: Path, tmp_path: Path) -> None:
    classes, table = tmp_path / "classes", tiny / "val" / "val_annotations.txt"
    table.write_text(f"val_0.JPEG\t{WNIDS[0]}\t1\t2\t3\n")
    with pytest.raises(ValueError, match=r"val_annotations\.txt, line 1, must have 6 entries"):
        read_tiny_imagenet(tiny, classes)
    table.write_text(f"val_0.JPEG\t{WNIDS[0]}\t9\t2\t3\t4\n")
    with pytest.raises(ValueError, match=r"gives val_0\.JPEG the box 9 2 3 4, which ends before it begins"):
        read_tiny_imagenet(tiny, classes)
    table.write_text("val_0.JPEG\tn99999999\t1\t2\t3\t4\n")
    with pytest.raises(ValueError, match=r"has the class n99999999, which is not among the 3 of"):
        read_tiny_imagenet(tiny, classes)
    table.unlink()
    with pytest.raises(FileNotFoundError, match=r"val_annotations\.txt does not exist: give the folder"):
        read_tiny_imagenet(tiny, classes)
    (tiny / "wnids.txt").write_text(WNIDS[2])
    with pytest.raises(ValueError, match=r"train has none of the classes of wnids\.txt"):
        read_tiny_imagenet(tiny, classes)


def test_an_absent_image_is_named(run: Run, tiny: Path) -> None:
    (tiny / "val" / "images" / "val_2.JPEG").unlink()
    with pytest.raises(FileNotFoundError, match=r"val_2\.JPEG does not exist: unpack the data set again"):
        run("--methods", "Red")


def test_classes_come_from_a_folder_or_a_list_in_order(tmp_path: Path) -> None:
    listed = tmp_path / "words.txt"
    listed.write_text("n02106662 shepherd\nn01440764 tench\n\nn014435371 is none\n")
    assert read_wnids(listed) == ["n01440764", "n02106662"]
    for name in ("n02106662_a.JPEG", "n01443537", "readme.txt"):
        (tmp_path / "folder" / name).mkdir(parents=True)
    assert read_wnids(tmp_path / "folder") == ["n01443537", "n02106662"]
    with pytest.raises(ValueError, match="has no name that begins with a wnid such as n01440764"):
        read_wnids(tmp_path / "folder" / "readme.txt")
    with pytest.raises(FileNotFoundError, match="as --wnids"):
        read_wnids(tmp_path / "nowhere")
