"""Exported files against their explainers in onnxruntime: any batch, any class, parity 1e-4; and clear refusals."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import vitrine
from vitrine.backbones import FrozenBackbone
from vitrine.explainers import (
    Explainer,
    MaskingExplainer,
    MaskingOptions,
    MuLassoExplainer,
    MuLassoOptions,
    SRAEExplainer,
    SRAEOptions,
)
from vitrine.export import export_onnx

onnx = pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")
pytest.importorskip("onnxscript")
SIDE = 16


def network(last: nn.Module | None = None) -> nn.Module:
    torch.manual_seed(0)
    layers = (
        nn.Conv2d(3, 8, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(8, 8, 3, 2, 1),
        nn.ReLU(inplace=True),
    )
    return nn.Sequential(*layers, last or nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.LazyLinear(4)).eval()


def built(last: nn.Module | None = None) -> FrozenBackbone:
    model = network(last)
    model(torch.rand(1, 3, SIDE, SIDE))
    return FrozenBackbone(model)


def by_method(method: str, **arguments: Any) -> Explainer:
    return vitrine.explainer(built(), method, size=SIDE, device="cpu", classes=["a", "b", "c", "d"], **arguments)


def run(path: Path, images: Tensor, target: Tensor | None = None) -> dict[str, Tensor]:
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    given = {"images": images.numpy(), **({} if target is None else {"target": target.numpy()})}
    names = [one.name for one in session.get_outputs()]
    return {name: torch.from_numpy(value) for name, value in zip(names, session.run(None, given), strict=True)}


@pytest.fixture(scope="module")
def images() -> Tensor:
    return torch.randn(5, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(1))


MAPS: dict[str, Callable[[], Explainer]] = {
    "CAM": lambda: by_method("CAM"),
    "GradCAM stretched": lambda: by_method("GradCAM", alignment="image"),
    "GradCAM of receptive fields": lambda: by_method("GradCAM", relu=False),
    "masking": lambda: MaskingExplainer(built(), MaskingOptions(image_size=SIDE, mask_layers=("1", "4"))),
}


@pytest.mark.parametrize("kind", MAPS)
def test_heatmaps_of_any_class_and_batch(kind: str, images: Tensor, tmp_path: Path) -> None:
    explainer = MAPS[kind]()
    written = export_onnx(explainer, tmp_path / "m.onnx", image_size=SIDE)
    assert (written.inputs, written.outputs) == (("images", "target"), ("logits", "heatmap"))
    assert written.difference <= 1e-4
    for target in (torch.tensor([0, 3, 1, 2, 2]), torch.full((5,), -1)):
        found = run(tmp_path / "m.onnx", images, target)
        expected = explainer.explain(images, None if target[0] < 0 else target)
        torch.testing.assert_close(found["heatmap"], expected.heatmaps, atol=1e-4, rtol=1e-4)
        torch.testing.assert_close(found["logits"], expected.logits, atol=1e-4, rtol=1e-4)
        assert expected.heatmaps.max() > 0


@pytest.mark.parametrize("trunk", ["separate", "shared"])
def test_x_features_and_contributions(trunk: Any, images: Tensor, tmp_path: Path) -> None:
    options = SRAEOptions(layer="4", image_size=SIDE, explained_classes=[1, 3], trunk=trunk, hidden=[12])
    explainer = SRAEExplainer(built(), options)
    export_onnx(explainer, tmp_path / "m.onnx")
    found = run(tmp_path / "m.onnx", images)
    assert found["x_features"].shape[:2] == (5, 2)
    for row, target in enumerate((1, 3)):
        scores = explainer.explain(images, target).scores
        torch.testing.assert_close(found["contributions"][:, row], scores, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(
        found["contributions"].sum(dim=2), explainer.explain(images, 1).logit_estimate, atol=1e-4, rtol=1e-4
    )


def test_scores_of_the_mu_lasso(images: Tensor, tmp_path: Path) -> None:
    explainer = MuLassoExplainer(built(), MuLassoOptions(image_size=SIDE))
    with torch.no_grad():
        explainer.weights.copy_(torch.randn(explainer.weights.shape, generator=torch.Generator().manual_seed(2)))
    export_onnx(explainer, tmp_path / "m.onnx")
    found, expected = run(tmp_path / "m.onnx", images), explainer.explain(images)
    assert expected.class_scores is not None
    torch.testing.assert_close(found["class_scores"], expected.class_scores, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(found["responses"], explainer.responses(images)["features"], atol=1e-5, rtol=1e-4)


class InDict(nn.Module):
    """Maps of logits in a dict."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        return {"out": self.conv(images), "aux": images}


def test_the_backbone_alone_of_any_explainer_and_output(images: Tensor, tmp_path: Path) -> None:
    explainer = vitrine.explainer(FrozenBackbone(InDict(), output="out"), "Saliency", size=SIDE, device="cpu")
    with pytest.raises(ValueError, match=r"Saliency needs backward passes.*logits_only=True"):
        export_onnx(explainer, tmp_path / "m.onnx")
    hooks = len(explainer.backbone.model._forward_hooks)
    export_onnx(explainer, tmp_path / "m.onnx", logits_only=True)
    assert len(explainer.backbone.model._forward_hooks) == hooks
    expected = explainer.backbone(images).logits
    torch.testing.assert_close(run(tmp_path / "m.onnx", images)["logits"], expected, atol=1e-5, rtol=1e-4)
    metadata = {entry.key: entry.value for entry in onnx.load(tmp_path / "m.onnx").metadata_props}
    assert json.loads(metadata["preprocessing"])["size"] == SIDE
    assert metadata["weight_digest"] == explainer.backbone.digest


@pytest.mark.parametrize(
    ("explainer", "says"),
    [
        (lambda: by_method("LRP"), "LRP needs backward passes"),
        (lambda: by_method("RISE"), "many forward passes"),
        (lambda: by_method("InversionMask"), "InversionExplainer finds its heatmaps by backward passes"),
        (lambda: vitrine.explainer(built(nn.Identity()), "GradCAM", size=SIDE, device="cpu"), "average pooling"),
    ],
)
def test_what_is_no_forward_pass_is_refused(explainer: Callable[[], Explainer], says: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=says):
        export_onnx(explainer(), tmp_path / "m.onnx")
    assert not list(tmp_path.iterdir())


def test_a_network_whose_code_cannot_be_traced_is_told_so(tmp_path: Path) -> None:
    class Branching(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(3, 4, 3)

        def forward(self, images: Tensor) -> Tensor:
            return self.conv(images).mean(dim=(2, 3)) * (1 if float(images.sum()) > 0 else -1)

    explainer = vitrine.explainer(Branching(), "Saliency", size=SIDE, device="cpu")
    with pytest.raises(ValueError, match="cannot be traced for ONNX"):
        export_onnx(explainer, tmp_path / "m.onnx", logits_only=True)
    assert not list(tmp_path.iterdir())
