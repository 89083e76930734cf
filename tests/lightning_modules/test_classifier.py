"""The classifier to be explained: what is trained and what is not, one label or several, and what it leaves."""

import copy
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.optim import AdamW
from torch.utils.data import DataLoader

from lightning_modules import ClassifierModule
from tests.helpers.image_data import ImageData
from vitrine.backbones.classifier_layer import classifier_layer, replace_classifier
from vitrine.backbones.frozen import FrozenBackbone
from vitrine.backbones.networks import BackboneOptions
from vitrine.backbones.weight_files import recorded_preprocessing
from vitrine.core.batch import Batch
from vitrine.data.preprocessing import Preprocessing

CLASSES = ["ant", "bee", "cat"]


class ColouredImages(ImageData):
    """Class c is bright in channel c; with several labels, an image is bright in each of its channels."""

    def __init__(self, multi_label: bool = False) -> None:
        super().__init__()
        self.classes = CLASSES
        self.multi_label = multi_label

    def batches(self) -> list[Batch]:
        generator = torch.Generator().manual_seed(0)
        hot = torch.eye(3).repeat(4, 1)
        if self.multi_label:
            hot = (torch.rand(12, 3, generator=generator) > 0.5).float()
        images = torch.randn(12, 3, 32, 32, generator=generator) * 0.3 + 2 * hot[:, :, None, None]
        label = hot if self.multi_label else hot.argmax(dim=1)
        return [Batch(image=images, label=label, key=[str(i) for i in range(12)])]

    def train_dataloader(self) -> DataLoader[Any]:
        return DataLoader(self.batches(), batch_size=None)  # type: ignore[arg-type]

    def val_dataloader(self) -> DataLoader[Any]:
        return self.train_dataloader()

    def test_dataloader(self) -> DataLoader[Any]:
        return self.train_dataloader()


class SmallNet(nn.Module):
    """With batch norm and dropout, so that modes matter."""

    def __init__(self, num_classes: int = 10) -> None:
        super().__init__()
        self.features = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU())
        self.dropout = nn.Dropout(0.1)
        self.classifier = nn.Linear(8, num_classes)

    def forward(self, images: Tensor) -> Tensor:
        hidden: Tensor = self.features(images).mean(dim=(2, 3))
        return self.classifier(self.dropout(hidden))


def make_module(**options: Any) -> ClassifierModule:
    torch.manual_seed(0)
    name = f"{__name__}:SmallNet"
    return ClassifierModule(
        BackboneOptions(name), **{"optimizer": lambda weights: AdamW(weights, lr=0.03, weight_decay=1e-4), **options}
    )


def fit(module: ClassifierModule, data: ColouredImages, folder: Path, epochs: int = 30) -> pl.Trainer:
    trainer = pl.Trainer(
        accelerator="cpu", max_epochs=epochs, logger=False, enable_checkpointing=False, enable_progress_bar=False,
        enable_model_summary=False, default_root_dir=folder,
    )  # fmt: skip
    trainer.fit(module, datamodule=data)
    return trainer


def changed(module: ClassifierModule, before: dict[str, Tensor]) -> set[str]:
    after = module.network.state_dict()
    return {name for name, value in before.items() if not torch.equal(value, after[name])}


def start_of(**options: Any) -> dict[str, Tensor]:
    module = make_module(**options)
    torch.manual_seed(0)
    return {name: value.clone() for name, value in module.network.state_dict().items() if "classifier" not in name}


def test_from_scratch_learns_and_moves_everything(tmp_path: Path) -> None:
    module = make_module()
    before = start_of()
    trainer = fit(module, ColouredImages(), tmp_path)
    assert trainer.callback_metrics["val/accuracy"] == 1
    assert changed(module, before) == set(before)
    assert trainer.test(module, datamodule=ColouredImages(), verbose=False)[0]["test/mean_class_accuracy"] == 1


def test_last_layer_only(tmp_path: Path) -> None:
    module = make_module(trainable="last_layer")
    before = start_of()
    trainer = fit(module, ColouredImages(), tmp_path)
    assert not changed(module, before)
    assert not any(m.training for name, m in module.network.named_modules() if name != "classifier")
    assert trainer.callback_metrics["val/accuracy"] > 0.9


def test_frozen_batch_norm_keeps_its_statistics(tmp_path: Path) -> None:
    module = make_module(freeze_batch_norm=True)
    fit(module, ColouredImages(), tmp_path, epochs=3)
    norm = module.network.get_submodule("features.1")
    assert isinstance(norm, nn.BatchNorm2d)
    assert not norm.training
    assert norm.running_mean is not None
    assert not norm.running_mean.any()
    assert int(norm.num_batches_tracked or 0) == 0


def test_several_labels_an_image(tmp_path: Path) -> None:
    module = make_module()
    trainer = fit(module, ColouredImages(multi_label=True), tmp_path)
    assert trainer.callback_metrics["val/mean_average_precision"] > 0.95
    batch = ColouredImages(multi_label=True).batches()[0]
    module.eval()
    expected = nn.BCEWithLogitsLoss()(module(batch["image"]), batch["label"])
    torch.testing.assert_close(module.loss(module(batch["image"]), batch["label"]), expected)
    probabilities = module.predict_step(batch)
    torch.testing.assert_close(probabilities, module(batch["image"]).sigmoid())


def test_a_constant_rate_without_decay_is_adam(tmp_path: Path) -> None:
    """As section 4.3 of Du et al. has it, on the last layer alone: then features stand still, and steps can be retraced."""
    module = ClassifierModule(
        BackboneOptions(f"{__name__}:SmallNet", num_classes=len(CLASSES)), trainable="last_layer", lr_scheduler=None,
        optimizer=lambda weights: AdamW(weights, lr=0.03, weight_decay=0.0),
    )  # fmt: skip
    retraced = copy.deepcopy(module.network).eval()
    data = ColouredImages(multi_label=True)
    fit(module, data, tmp_path, epochs=5)
    batch, layer = data.batches()[0], retraced.get_submodule("classifier")
    adam = torch.optim.Adam(layer.parameters(), lr=0.03)
    for _ in range(5):
        adam.zero_grad()
        nn.BCEWithLogitsLoss()(retraced(batch["image"]), batch["label"]).backward()
        adam.step()
    torch.testing.assert_close(module.network.state_dict(), retraced.state_dict())


def test_what_it_leaves_is_a_backbones_weights(tmp_path: Path) -> None:
    module, data = make_module(), ColouredImages()
    data.preprocessing = Preprocessing(size=8, resize=9)
    fit(module, data, tmp_path, epochs=1)
    path = module.export(tmp_path)
    assert load_file(path)["classifier.weight"].shape == (3, 8)
    backbone = FrozenBackbone(f"{__name__}:SmallNet", weights=path)
    images = ColouredImages().batches()[0]["image"]
    torch.testing.assert_close(backbone(images).logits, module.eval()(images).detach())
    assert recorded_preprocessing(path) == data.preprocessing.to_dict()


@pytest.mark.parametrize(
    ("name", "layer"),
    [
        ("resnet18", "fc"), ("vgg11", "classifier.6"), ("squeezenet1_0", "classifier.1"), ("mobilenet_v2", "classifier.1"),
        ("densenet121", "classifier"), ("googlenet", "fc"), ("convnext_tiny", "classifier.2"), ("vit_b_32", "heads.head"),
    ],
)  # fmt: skip
def test_the_layer_that_classifies(name: str, layer: str) -> None:
    network = FrozenBackbone(name).model
    assert classifier_layer(network) == layer
    replace_classifier(network, 7)
    size = 224 if name.startswith("vit") else 64
    with torch.no_grad():
        assert network(torch.zeros(1, 3, size, size)).shape == (1, 7)


def test_a_network_without_layers_is_refused() -> None:
    with pytest.raises(ValueError, match="Identity has no linear or convolutional layer"):
        classifier_layer(nn.Identity())


def test_weights_of_another_network_are_one_sentence() -> None:
    module = make_module()
    state = module.state_dict()
    for change in ({"network.more": torch.zeros(1)}, {name: torch.zeros(7, 7) for name in list(state)[:1]}):
        with pytest.raises(ValueError, match=r"holds other weights than this ClassifierModule: 'network\."):
            module.load_state_dict({**state, **change})
