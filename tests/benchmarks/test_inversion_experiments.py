"""The experiments on inversion masks: figures that can be computed by hand, and small runs of each from its command line."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from torch import Tensor, nn
from torchvision.models import alexnet, resnet18, vgg11
from typing_extensions import override

from benchmarks.inversion_experiments import attack as attacks
from benchmarks.inversion_experiments import discrimination, salient
from benchmarks.inversion_experiments.__main__ import EXPERIMENTS, main
from benchmarks.inversion_experiments.layers import mask_layers
from benchmarks.inversion_experiments.methods import ROWS, STAGE_1, cell, mean, with_steps
from benchmarks.inversion_experiments.sources import Picked, Scene, recognised
from benchmarks.inversion_experiments.stimuli import (
    attack,
    canvas_of,
    correlations,
    first_pairs,
    half_boxes,
    moved,
    overlaps,
    pairs,
)
from benchmarks.method_table import Entry
from vitrine.attribution import Method
from vitrine.attribution.targets import Target
from vitrine.data.preprocessing import IMAGENET_MEAN, IMAGENET_STD, Preprocessing

PLAIN = Preprocessing(8, None, (0, 0, 0), (1, 1, 1))
NO_BOXES = torch.zeros(0, 4, dtype=torch.float64)


class Colour(nn.Module):
    """Ten times the mean of each colour: its classes are red, green and blue."""

    def __init__(self) -> None:
        super().__init__()
        self.layer, self.head = nn.Conv2d(3, 4, 1, bias=False), nn.Linear(4, 3, bias=False)
        self.layer.weight.data = torch.eye(4, 3)[..., None, None]
        self.head.weight.data = 10 * torch.eye(3, 4)

    @override
    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.head(self.layer(images).mean(dim=(2, 3)))
        return logits


class Planted(Method):
    """On where the explained colour is strongest, as the inputs have it before they are normalised."""

    @override
    def maps(self, inputs: Tensor, target: Target) -> Tensor:
        std, mean_colour = (inputs.new_tensor(values)[:, None, None] for values in (IMAGENET_STD, IMAGENET_MEAN))
        colours = inputs * std + mean_colour
        on = (colours == colours.amax(dim=1, keepdim=True)) & (colours > 0.9)
        return on[torch.arange(len(inputs))[:, None], target.resolve(self.model(inputs))][:, :, None].float()


def single(colour: int, side: int = 8, strength: float = 1.0) -> Tensor:
    image = torch.zeros(3, side, side)
    image[colour] = strength
    return image


def scenes(*colours: int) -> Iterator[Scene]:
    return (Scene(single(colour), colour, NO_BOXES, str(number)) for number, colour in enumerate(colours))


# How maps are compared


def test_correlations_are_pearsons() -> None:
    torch.manual_seed(0)
    one, other = torch.rand(3, 4, 5, dtype=torch.float64), torch.rand(3, 4, 5, dtype=torch.float64)
    wanted = [torch.corrcoef(torch.stack([a.flatten(), b.flatten()]))[0, 1] for a, b in zip(one, other, strict=True)]
    torch.testing.assert_close(correlations(one, other), torch.stack(wanted))
    torch.testing.assert_close(correlations(one, 1e-200 * one), torch.ones(3, dtype=torch.float64))
    torch.testing.assert_close(correlations(one, 2 - one), -torch.ones(3, dtype=torch.float64))


def test_overlaps_are_of_what_is_above_the_mean() -> None:
    one, other = torch.zeros(1, 2, 4), torch.zeros(1, 2, 4)
    one[0, 0, :2], other[0, 0, 1:] = 1, 5
    assert overlaps(one, other).tolist() == [0.25]
    assert overlaps(one, one + 3).tolist() == [1]


def test_degenerate_maps_agree_with_nothing() -> None:
    fine, constant = torch.rand(1, 3, 3), torch.ones(1, 3, 3)
    for figure in (correlations, overlaps):
        assert figure(fine, constant).isnan().all()
        assert figure(fine * torch.nan, fine).isnan().all()
    assert mean(torch.tensor([1.0, torch.nan, 2])) == 1.5
    assert mean(torch.tensor([torch.nan])) is None
    assert cell(None) == "–"


# Two objects


@pytest.mark.parametrize("side", [8, 9])
@pytest.mark.parametrize("kind", ["squashed", "cropped"])
def test_a_canvas_has_each_image_in_its_half(kind: str, side: int) -> None:
    canvas = canvas_of(single(0, side), single(2, side), kind)
    (left,), (right,) = half_boxes(side).long().tolist()
    assert canvas.shape == (3, side, side)
    assert left[2] == right[0] == side // 2
    torch.testing.assert_close(canvas[:, :, : left[2]], single(0, side)[:, :, : left[2]])
    torch.testing.assert_close(canvas[:, :, right[0] :], single(2, side)[:, :, right[0] :])


def test_a_cropped_half_is_the_middle_and_a_squashed_one_all() -> None:
    ramp = torch.arange(8.0).expand(3, 8, 8)
    assert canvas_of(ramp, ramp, "cropped")[0, 0].tolist() == [2, 3, 4, 5] * 2
    squashed = canvas_of(ramp, ramp, "squashed")[0, 0]
    assert squashed[0] < 1
    assert squashed[3] > 6


def test_pairs_are_of_different_classes_in_order() -> None:
    found, tried = first_pairs(pairs(scenes(0, 0, 1, 2, 1, 2), Colour(), "cpu", "squashed", 2), 5)
    assert [pair.names for pair in found] == [("1", "2"), ("3", "4")]
    assert [pair.classes for pair in found] == [(0, 1), (2, 1)]
    assert tried == 2
    # Logits of 5, 5 and 0.
    assert found[0].chances == pytest.approx([1 / (2 + torch.tensor(-5.0).exp().item())] * 2)


def test_a_canvas_counts_if_both_classes_are_seen() -> None:
    faint = Scene(single(1, strength=0.2), 1, NO_BOXES, "faint")  # logits of 5, 1 and 0
    for top, seen in ((0, 1), (2, 1), (1, 0)):
        found = list(pairs(iter([*scenes(0), faint]), Colour(), "cpu", "squashed", top))
        assert [pair is not None for pair in found] == [bool(seen)]
    with pytest.raises(ValueError, match="none of 1 canvases"):
        first_pairs(pairs(iter([*scenes(0), faint]), Colour(), "cpu", "squashed", 1), 1)


def test_figures_of_two_objects() -> None:
    left, right = torch.zeros(4, 4), torch.zeros(4, 4)
    left[:, :2], right[:, 2:] = 1, 1
    mixed = left + 3 * right  # a quarter of it lies left, and its maximum right
    found = discrimination.figures_of(torch.stack([torch.stack([left, right]), torch.stack([mixed, right])]))
    assert found["own_half"] == pytest.approx((1 + 1 + 0.25 + 1) / 4)
    assert found["left_maps_own_half"] == pytest.approx(0.625)
    assert found["maximum_in_own_half"] == 0.75
    assert found["in_order"] == 1
    assert found["correlation"] == pytest.approx((-1 + 1) / 2)
    swapped = discrimination.figures_of(torch.stack([right, left])[None])
    assert (swapped["own_half"], swapped["in_order"], swapped["maximum_in_own_half"]) == (0, 0, 0)


def test_one_map_twice_and_no_map() -> None:
    torch.manual_seed(0)
    found = discrimination.figures_of(torch.rand(5, 1, 7, 7).expand(5, 2, 7, 7))
    assert found["own_half"] == pytest.approx(0.5)
    assert (found["in_order"], found["maximum_in_own_half"]) == (0.5, 0.5)
    nothing = discrimination.figures_of(torch.zeros(1, 2, 4, 4))
    assert (nothing["own_half"], nothing["correlation"], nothing["in_order"]) == (None, None, 0)
    assert (nothing["maximum_in_own_half"], nothing["degenerate"]) == (0, 2)


# Recognised images


def test_what_is_recognised() -> None:
    faint = Scene(torch.zeros(3, 8, 8), None, NO_BOXES, "nothing")  # a third for each class
    wrong = Scene(single(0), 2, NO_BOXES, "wrong")
    unnamed = Scene(single(2), None, NO_BOXES, "unnamed")
    found = list(recognised(iter([faint, wrong, unnamed, *scenes(1)]), Colour(), "cpu", 3))
    assert [(scene.name, scene.label) for scene in found] == [("unnamed", 2), ("0", 1)]
    with pytest.raises(ValueError, match="recognises none of the images"):
        Picked.of([])


# The attack


def test_the_weakest_attack_that_changes_the_prediction() -> None:
    """A gap of g between two colours is closed by ε > g / 2, as one falls and the other rises."""
    images = torch.full((3, 3, 8, 8), 0.5)
    images[0, 0], images[1, 0], images[2, 0] = 0.53, 0.59, 0.9
    epsilons = [0.1, 0.01, 0.02, 0.05]
    found = attack(Colour(), images, torch.zeros(3, dtype=torch.int64), epsilons, PLAIN)
    assert found.flipped.tolist() == [True, True, False]
    torch.testing.assert_close(found.epsilon, torch.tensor([0.02, 0.05, 0.1]))
    torch.testing.assert_close(found.images[0, 0], images[0, 0] - 0.02)
    torch.testing.assert_close(found.images[0, 1], images[0, 1] + 0.02)
    chances = Colour()(found.images).softmax(dim=1).amax(dim=1)
    torch.testing.assert_close(found.chance, chances)
    assert found.prediction.tolist()[2] == 0
    torch.testing.assert_close((found.noise - images).abs().amax(dim=(1, 2, 3)), found.epsilon)
    sure = attack(Colour(), images, torch.zeros(3, dtype=torch.int64), epsilons, PLAIN, chance=0.45)
    assert sure.epsilon[0] >= found.epsilon[0]
    assert (sure.chance[sure.flipped] >= 0.45).all()


def test_an_attack_does_not_depend_on_the_batch() -> None:
    torch.manual_seed(1)
    images, model = torch.rand(4, 3, 8, 8), Colour()
    labels, epsilons = model(images).argmax(dim=1), [0.001, 0.01, 0.1]
    whole = attack(model, images, labels, epsilons, PLAIN)
    for row in range(4):
        alone = attack(model, images[row : row + 1], labels[row : row + 1], epsilons, PLAIN)
        for name in ("images", "noise", "epsilon", "flipped"):
            torch.testing.assert_close(getattr(alone, name)[0], getattr(whole, name)[row])


def test_attacked_colours_stay_colours() -> None:
    preprocessing = Preprocessing(8, None)
    images = torch.randn(2, 3, 8, 8)
    far = moved(images, torch.ones_like(images), torch.tensor([9.0, 0.0]), preprocessing)
    torch.testing.assert_close(preprocessing.denormalize(far)[0], torch.ones(3, 8, 8))
    assert preprocessing.denormalize(far)[1].amin() >= 0


def test_figures_of_an_attack() -> None:
    left, right = torch.zeros(1, 4, 4), torch.zeros(1, 4, 4)
    left[..., :2], right[..., 2:] = 1, 1
    clean = torch.cat([left, left])
    boxes = [torch.tensor([[0.0, 0, 2, 4]]), torch.tensor([[0.0, 0, 2, 4]])]
    found = attacks.figures_of(attacks.Trio(clean, torch.cat([left, right]), clean, torch.cat([right, right])), boxes)
    assert found["correlation"] == pytest.approx(0)
    assert (found["iou"], found["degenerate"]) == (0.5, 0)
    assert found["random_signs"] == pytest.approx(1)
    assert found["wrong_class"] == pytest.approx(0)  # −1 and 1
    assert found["another_image"] == pytest.approx(0)  # the left one with the right one, and the other way round
    inside = found["boxes"]
    assert inside["clean"] | {"interval": None} == {"mass": 1, "maximum": 1, "error": 0, "interval": None}
    assert inside["attacked"] | {"interval": None} == {"mass": 0.5, "maximum": 0.5, "error": 0.5, "interval": None}
    assert (inside["alpha"], inside["area"]) == (0, 0.5)
    alone = attacks.figures_of(attacks.Trio(left, left, left, right), [NO_BOXES])
    assert alone["another_image"] is None
    assert alone["boxes"] is None


# Candidates for l₁


@pytest.mark.parametrize(
    ("build", "last", "wanted"),
    [
        # Convolutions before their ReLU are passed over; the last stages' maps and the paper's layer are there.
        (
            vgg11,
            4,
            ["features.4", "features.9", "features.14", "features.15", "features.17", "features.19", "features"],
        ),
        (alexnet, 2, ["features.1", "features.4", "features.11", "features"]),
        (resnet18, 2, ["relu", "layer1", "layer2", "layer3", "layer4.0", "layer4.1.bn1", "layer4"]),
    ],
)
def test_candidates(build: Callable[..., nn.Module], last: int, wanted: list[str]) -> None:
    model = build(weights=None).eval()
    assert mask_layers(model, torch.zeros(1, 3, 224, 224), last) == wanted


# Salient objects


def test_figures_of_salient_objects() -> None:
    masks = torch.zeros(2, 4, 4, dtype=torch.bool)
    masks[:, 0] = True
    half = torch.zeros(4, 4)
    half[0, :2] = 1  # on where the object is, in half of it
    found = salient.figures_of(torch.stack([masks[0].float(), half]), masks)
    f = 1.3 * 0.5 / (0.3 + 0.5)
    assert found["precision"] == 1
    assert found["recall"] == 0.75
    assert found["f"] == pytest.approx((1 + f) / 2)
    assert found["mae"] == pytest.approx((0 + 2 / 16) / 2)


# Options


def test_steps_are_at_most_those_of_the_variant() -> None:
    assert with_steps(ROWS["InversionMask"], [3, 100]).options == {"inversion_steps": 3, "class_steps": 70}
    smooth = with_steps(ROWS["InversionMask+smooth, ten steps"], [3, 4]).options
    assert (smooth["inversion_steps"], smooth["class_steps"]) == (0, 4)
    assert with_steps(ROWS["InversionMask+fine"], [3, 4]).options["class_steps"] == 0
    assert with_steps(ROWS[STAGE_1], [3, 4]).options == {"inversion_steps": 3, "class_steps": 0}
    assert with_steps(ROWS["GradCAM"], [3, 4]) is ROWS["GradCAM"]
    assert with_steps(ROWS["InversionMask"], None) is ROWS["InversionMask"]


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_every_experiment_says_what_it_needs(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main([name, "--help"])
    assert ended.value.code == 0
    assert "--pictures" in capsys.readouterr().out
    if name == "architectures":
        return
    with pytest.raises(SystemExit) as ended:
        main([name])
    assert ended.value.code == 2
    assert "there is nothing to measure on" in capsys.readouterr().err


# Small runs


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., dict[str, Any]]:
    """Runs an experiment, and reads what it wrote."""
    monkeypatch.setitem(ROWS, "Planted", Entry(Planted))
    monkeypatch.setattr("benchmarks.common.build_network", lambda *_: Colour())

    def command(name: str, *options: object) -> dict[str, Any]:
        out = tmp_path / "runs" / f"{name}.json"
        given = ["--device", "cpu", "--out", out, "--pictures", tmp_path / "pictures", "--size", 32]
        main([name, *map(str, (*options, *given))])
        figures: dict[str, Any] = json.loads(out.read_text(encoding="utf-8"), parse_constant=pytest.fail)
        return figures

    return command


@pytest.fixture
def coloured(tmp_path: Path) -> Path:
    """Pictures in pure colours, by wnids whose order is that of the network's classes."""
    for number in range(12):
        path = tmp_path / "coloured" / f"n0000000{number % 3}" / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        colour = tuple(255 * (place == number % 3) for place in range(3))
        Image.new("RGB", (40, 40), colour).save(path)
    return tmp_path / "coloured"


def test_two_objects_from_the_command_line(run: Callable[..., dict[str, Any]], coloured: Path, tmp_path: Path) -> None:
    """Pure colours: the planted map of a class is on in all of its half, and nowhere else."""
    options = ["--images", coloured, "--networks", "colours", "--canvas", "cropped", "--top", 2, "--count", 3]
    methods = ["--methods", STAGE_1, "InversionMask", "Planted", "Center", "CAM", "--steps", 1, 2]
    for wnids in ([], ["--wnids", coloured]):
        found = run("discrimination", *options, *wnids, *methods)["sets"]["images"]["colours"]
        assert (found["pairs"], found["canvases"]) == (3, 3)
        planted, centre, stage = (found["methods"][name] for name in ("Planted", "Center", STAGE_1))
        assert (planted["own_half"], planted["maximum_in_own_half"], planted["in_order"]) == (1, 1, 1)
        assert planted["correlation"] == pytest.approx(-1)
        assert centre["own_half"] == pytest.approx(0.5, abs=0.01)
        assert (centre["in_order"], centre["maximum_in_own_half"]) == (0.5, 0.5)
        assert stage["correlation"] == pytest.approx(1)
        assert stage["options"] == {"inversion_steps": 1, "class_steps": 0}
        assert found["methods"]["CAM"]["own_half"] is not None or "refused" in found["methods"]["CAM"]
    assert Image.open(tmp_path / "pictures" / "two_objects_images_colours.png").width > 5 * 150


def test_attacks_from_the_command_line(run: Callable[..., dict[str, Any]], coloured: Path, tmp_path: Path) -> None:
    options = ["--images", coloured, "--networks", "colours", "--canvas", "cropped", "--top", 2, "--count", 3]
    methods = ["--methods", "Planted", "Saliency", "--steps", 1, 1]
    found = run("attack", *options, *methods, "--pairs", "--epsilons", 16)["sets"]["images"]["colours"]
    assert found["images"] == 3
    assert 0 < found["flipped"] <= 1
    assert found["median_epsilon"] == pytest.approx(16)
    planted = found["methods"]["Planted"]
    # An attack moves no border, and the other object's map has what is left.
    assert planted["correlation"] == planted["random_signs"] == pytest.approx(1)
    assert planted["wrong_class"] == pytest.approx(-1)
    assert (planted["boxes"]["clean"]["mass"], planted["boxes"]["attacked"]["mass"]) == (1, 1)
    assert planted["boxes"]["attacked"]["error"] == 0
    # Red alone on black withstands that, and there is nothing to compare.
    with pytest.raises(ValueError, match="taken for another class"):
        run("attack", *options, *methods, "--epsilons", 1)
    assert (tmp_path / "pictures" / "attack_images_colours.png").is_file()


def test_salient_objects_from_the_command_line(run: Callable[..., dict[str, Any]], tmp_path: Path) -> None:
    """Red in a corner: the planted map of the red class is the mask."""
    for name in ("a", "b"):
        picture, mask = Image.new("RGB", (32, 32)), Image.new("L", (32, 32))
        picture.paste((255, 0, 0), (0, 0, 16, 8))
        mask.paste(255, (0, 0, 16, 8))
        for folder, image, kind in (("images", picture, "PNG"), ("ground_truth_mask", mask, "PNG")):
            path = tmp_path / "ECSSD" / folder / f"{name}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            image.save(path, format=kind)
    methods = ["--methods", "Planted", STAGE_1, "--steps", 1, 1]
    found = run("salient", "--saliency", tmp_path / "ECSSD", "--networks", "colours", *methods)["sets"]["ECSSD"][
        "colours"
    ]
    assert (found["images"], found["area"]) == (2, 0.125)
    planted = found["methods"]["Planted"]
    assert [planted[name] for name in ("precision", "recall", "f", "mae", "max_f")] == [1, 1, 1, 0, 1]
    assert found["methods"][STAGE_1]["options"] == {"inversion_steps": 1, "class_steps": 0}
    assert (tmp_path / "pictures" / "salient_ECSSD_colours.png").is_file()


def test_architectures_from_the_command_line(tmp_path: Path) -> None:
    out = tmp_path / "figures.json"
    options = [
        "--networks",
        "squeezenet1_1",
        "--steps",
        "1",
        "1",
        "--batches",
        "1",
        "2",
        "--rounds",
        "2",
        "--size",
        "48",
    ]
    main(["architectures", *options, "--device", "cpu", "--out", str(out)])
    found = json.loads(out.read_text(encoding="utf-8"))["networks"]["squeezenet1_1, paper"]
    assert (found["inversion_layer"], found["mask_layers"], found["channels"]) == ("features", ["features"], 512)
    assert (found["cells"], found["steps"], found["paper_seconds"]) == ([2, 2], [1, 1], None)
    for times in found["batches"].values():
        assert len(times["seconds"]) == 2
        assert times["gradients"] > 0
    assert len(found["batches"]) == 2


@pytest.fixture
def tiny(tmp_path: Path) -> Path:
    """One class with two training and two val images, whose boxes are all of them."""
    root, wnid = tmp_path / "tiny-imagenet-200", "n00000000"
    for number in range(4):
        folder = root / "train" / wnid / "images" if number < 2 else root / "val" / "images"
        folder.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (64, 64), (60 * number, 90, 120)).save(folder / f"{number}.JPEG")
    (root / "wnids.txt").write_text(wnid)
    (root / "train" / wnid / f"{wnid}_boxes.txt").write_text("".join(f"{n}.JPEG\t0\t0\t63\t63\n" for n in (0, 1)))
    (root / "val" / "val_annotations.txt").write_text("".join(f"{n}.JPEG\t{wnid}\t0\t0\t63\t63\n" for n in (2, 3)))
    return root


def test_layers_from_the_command_line(tmp_path: Path, tiny: Path) -> None:
    out, name = tmp_path / "figures.json", "squeezenet1_1"
    options = [
        "--tiny-imagenet",
        tiny,
        "--wnids",
        tiny / "wnids.txt",
        "--networks",
        name,
        "--size",
        64,
        "--steps",
        1,
        1,
    ]
    written = ["--device", "cpu", "--out", out, "--pictures", tmp_path]
    main(["layers", *map(str, [*options, "--last", 2, *written])])
    found = json.loads(out.read_text(encoding="utf-8"), parse_constant=pytest.fail)["sets"]["tiny_imagenet"][name]
    assert list(found["methods"]) == ["features.1", "features.4", "features.7", "features.11", "features"]
    for layer, own in found["methods"].items():
        assert own["settings"]["options"] == {"l1": layer, "variant": "paper", "inversion_steps": 1, "class_steps": 1}
        assert (own["images"], own["tuning_images"], len(own["errors"])) == (2, 2, 21)
        assert own["errors"]["10.0"] == 1  # nothing, or a corner
    assert (tmp_path / f"alpha_tiny_imagenet_{name}.png").is_file()
    main(["layers", *map(str, [*options, "--layers", "features.5", "--resume", *written])])
    resumed = json.loads(out.read_text(encoding="utf-8"))["sets"]["tiny_imagenet"][name]["methods"]
    assert list(resumed)[-1] == "features.5"
    assert resumed["features"] == found["methods"]["features"]
