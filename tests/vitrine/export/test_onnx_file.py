"""Exported files in onnxruntime: any batch, any class, within 1e-4 of their explainers; nothing is kept that is not."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

import vitrine
from tests.helpers.exported_networks import IMAGES, SIDE, TARGETS, LogitMaps, built, by_method, srae
from vitrine.backbones import FrozenBackbone
from vitrine.explainers import Explainer, MaskingExplainer, MaskingOptions, MuLassoExplainer, MuLassoOptions
from vitrine.export import export_onnx

onnx = pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")
pytest.importorskip("onnxscript")


def run(path: Path, images: Tensor, target: Tensor | None = None) -> dict[str, Tensor]:
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    given = {"images": images.numpy(), **({} if target is None else {"target": target.numpy()})}
    names = [one.name for one in session.get_outputs()]
    return {name: torch.from_numpy(value) for name, value in zip(names, session.run(None, given), strict=True)}


MAPS: dict[str, Callable[[], Explainer]] = {
    "GradCAM": lambda: by_method("GradCAM"),
    "masking": lambda: MaskingExplainer(built(), MaskingOptions(image_size=SIDE, mask_layers=("1", "4"))),
}


@pytest.mark.parametrize("kind", MAPS)
def test_heatmaps_of_any_class_and_batch(kind: str, tmp_path: Path) -> None:
    explainer = MAPS[kind]()
    written = export_onnx(explainer, tmp_path / "m.onnx", image_size=SIDE)
    assert (written.inputs, written.outputs) == (("images", "target"), ("logits", "heatmap"))
    assert written.difference <= 1e-4
    for target in (TARGETS, torch.full((5,), -1)):
        found = run(tmp_path / "m.onnx", IMAGES, target)
        expected = explainer.explain(IMAGES, None if target[0] < 0 else target)
        torch.testing.assert_close(found["heatmap"], expected.heatmaps, atol=1e-4, rtol=1e-4)
        torch.testing.assert_close(found["logits"], expected.logits, atol=1e-4, rtol=1e-4)


def test_x_features_and_contributions(tmp_path: Path) -> None:
    explainer = srae()
    export_onnx(explainer, tmp_path / "m.onnx")
    found = run(tmp_path / "m.onnx", IMAGES)
    torch.testing.assert_close(found["contributions"][:, 1], explainer.explain(IMAGES, 3).scores, atol=1e-4, rtol=1e-4)


def test_scores_of_the_mu_lasso(tmp_path: Path) -> None:
    explainer = MuLassoExplainer(built(), MuLassoOptions(image_size=SIDE))
    with torch.no_grad():
        explainer.weights.copy_(torch.randn(explainer.weights.shape, generator=torch.Generator().manual_seed(2)))
    export_onnx(explainer, tmp_path / "m.onnx")
    expected = explainer.explain(IMAGES).class_scores
    assert expected is not None
    torch.testing.assert_close(run(tmp_path / "m.onnx", IMAGES)["class_scores"], expected, atol=1e-4, rtol=1e-4)


def test_the_backbone_alone_with_what_is_known_of_it(tmp_path: Path) -> None:
    explainer = vitrine.explainer(FrozenBackbone(LogitMaps(), output="out"), "Saliency", size=SIDE, device="cpu")
    export_onnx(explainer, tmp_path / "m.onnx", logits_only=True)
    expected = explainer.backbone(IMAGES).logits
    torch.testing.assert_close(run(tmp_path / "m.onnx", IMAGES)["logits"], expected, atol=1e-5, rtol=1e-4)
    metadata = {entry.key: entry.value for entry in onnx.load(tmp_path / "m.onnx").metadata_props}
    assert json.loads(metadata["preprocessing"])["size"] == SIDE
    assert metadata["weight_digest"] == explainer.backbone.digest


def test_a_file_that_differs_from_the_explainer_is_not_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def others(*_: object) -> Callable[[Tensor], list[Tensor]]:
        return lambda images: [images.new_ones(len(images), 4)]

    monkeypatch.setattr("vitrine.export.onnx_file.expected_results", others)
    with pytest.raises(ValueError, match=r"differs by .* not kept"):
        export_onnx(by_method("Saliency"), tmp_path / "m.onnx", logits_only=True)
    assert not list(tmp_path.iterdir())


def test_a_network_whose_code_cannot_be_traced_is_told_so(tmp_path: Path) -> None:
    class Branching(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(3, 4, 3)

        def forward(self, images: Tensor) -> Tensor:
            scores: Tensor = self.conv(images).mean(dim=(2, 3))
            return scores * (1 if float(images.sum()) > 0 else -1)

    explainer = vitrine.explainer(Branching(), "Saliency", size=SIDE, device="cpu")
    with pytest.raises(ValueError, match="cannot be traced for ONNX"):
        export_onnx(explainer, tmp_path / "m.onnx", logits_only=True)
    assert not list(tmp_path.iterdir())
