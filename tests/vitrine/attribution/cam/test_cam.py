"""CAM: against Grad-CAM on networks with global average pooling; other networks are refused."""

import pytest
import torch
from torch import Tensor, nn

from tests.helpers.cam_models import bilinear, close, images, network, small, targets_of, unchanged
from vitrine.attribution.cam.cam import CAM
from vitrine.attribution.cam.grad_cam import GradCAM
from vitrine.backbones.taps import captured


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


@pytest.mark.parametrize("name", ["resnet18", "mobilenet_v2", "densenet121", "googlenet", "shufflenet_v2_x0_5"])
def test_cam_is_grad_cam_times_the_area(name: str) -> None:
    model, x = network(name), torch.rand(2, 3, 64, 96, dtype=torch.float64)
    targets = torch.tensor([[3, 1], [0, 9]])
    actual = CAM(model, alignment="image").attribute(x, targets)
    if name != "densenet121":  # there a function rectifies between the last layer and the pooling
        close(actual, GradCAM(model, relu=False, alignment="image").attribute(x, targets) * 6)
        # Both find the same centres, the one of a layer and the other of what is averaged.
        close(CAM(model).attribute(x, targets), GradCAM(model, relu=False).attribute(x, targets) * 6)
    bias = [m for m in model.modules() if isinstance(m, nn.Linear)][-1].bias
    with torch.no_grad():
        coarse = CAM(model).coarse_maps(x, CAM(model).explained_target(2, targets, None), None)
        close(coarse.mean(dim=(2, 3)) + bias[targets], model(x).gather(1, targets))
        close(actual, bilinear(coarse, x)[:, :, None])


@pytest.mark.parametrize("classes", [10, 512])  # for 512, the weights of the classifier have the identity's shape
def test_cam_of_squeezenet_is_the_channel_of_the_class(classes: int) -> None:
    model, x = network("squeezenet1_0", classes), torch.rand(2, 3, 64, 64, dtype=torch.float64)
    target = targets_of(model, x)
    with torch.no_grad(), captured(model, ["classifier.2"]) as outputs:
        model(x)
    plain = CAM(model, alignment="image")
    close(plain.attribute(x), bilinear(outputs["classifier.2"][torch.arange(2), target][:, None], x))
    close(CAM(model, "classifier.2").attribute(x), CAM(model).attribute(x))


def test_cam_takes_a_convolutional_classifier_after_the_pooling() -> None:
    model, x = small().eval(), images()
    linear = model[8]
    convolutional = nn.Sequential(*model[:7], nn.Conv2d(8, 5, 1), nn.Flatten()).double().eval()
    with torch.no_grad():
        convolutional[7].get_parameter("weight").copy_(linear.get_parameter("weight")[:, :, None, None])
        convolutional[7].get_parameter("bias").copy_(linear.get_parameter("bias"))
    close(CAM(convolutional).attribute(x), CAM(model).attribute(x))


def test_cam_without_bias_and_with_a_mean_method() -> None:
    class Mean(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.features, self.classifier = small()[:5], nn.Linear(8, 5, bias=False).double()

        def forward(self, x: Tensor) -> Tensor:
            output: Tensor = self.classifier(self.features(x).mean((2, 3)))
            return output

    model, x = Mean(), images()
    close(CAM(model).attribute(x), GradCAM(model, relu=False).attribute(x) * 12)


@pytest.mark.parametrize(("name", "layer"), [("vgg11_bn", None), ("resnet18", "layer3"), ("squeezenet1_0", "features")])
def test_cam_refuses_other_networks(name: str, layer: str | None) -> None:
    model, x = network(name), torch.rand(1, 3, 64, 64, dtype=torch.float64)
    with unchanged(model), pytest.raises(ValueError, match=r"CAM needs global average pooling.*use GradCAM"):
        CAM(model, layer).attribute(x)


def test_cam_refuses_a_network_that_almost_fits() -> None:
    model, x = small().eval(), images()
    with pytest.raises(ValueError, match="Sequential is not built so; use GradCAM"):
        CAM(model.insert(8, nn.Tanh())).attribute(x)
    with pytest.raises(ValueError, match="use GradCAM"):
        CAM(small().append(nn.Softmax(dim=1))).attribute(x)
    with pytest.raises(ValueError, match="use GradCAM"):
        CAM(nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten(), nn.Linear(280, 5)).double()).attribute(x)
