"""Models and methods for tests of the sanity check."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from typing_extensions import override

from vitrine.attribution.base import Method
from vitrine.attribution.targets import Target


class Gradient(Method):
    """The gradient of the logit, (B, C, H, W)."""

    @override
    def maps(self, inputs: Tensor, target: Target) -> Tensor:
        with torch.enable_grad():
            pixels = inputs.requires_grad_()
            output = self.explained_output(pixels, target)
            (gradient,) = torch.autograd.grad(output.gather(1, target.resolve(output)).sum(), pixels)
        return gradient[:, None]


class EdgeDetector(Method):
    """Differences of neighbouring pixels, whatever the model is; scaled, as ranks do not depend on that."""

    @override
    def maps(self, inputs: Tensor, target: Target) -> Tensor:
        scale = sum(parameter.abs().sum() for parameter in self.model.parameters())
        return (inputs - inputs.roll(1, dims=3))[:, None] * scale


class Tangled(nn.Module):
    """Registered in no order; a layer used twice, one never, a functional weight, batch norms, and a table of constants."""

    table: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(6, 4)
        self.auxiliary = nn.Linear(6, 2)
        self.norm = nn.BatchNorm2d(6, affine=False)
        self.shared = nn.Conv2d(6, 6, 3, padding=1)
        self.scale = nn.Parameter(torch.rand(6, 1, 1) + 0.5)
        self.functional = nn.ParameterDict({"weight": nn.Parameter(torch.randn(6, 6, 1, 1))})
        self.last_norm = nn.BatchNorm2d(6)
        self.stem = nn.Conv2d(3, 6, 3, padding=1)
        self.register_buffer("table", torch.ones(6, 1, 1))

    def forward(self, images: Tensor) -> Tensor:
        x = self.stem(images) * self.scale
        x = F.relu(self.norm(self.shared(x)), inplace=True)
        x = F.relu(F.conv2d(x, self.functional["weight"])) * self.table
        x = F.relu(self.last_norm(self.shared(x)))
        logits: Tensor = self.head(x.to(self.stem.weight.dtype).mean((2, 3)))
        return logits


FROM_TOP = ["head", "last_norm", "shared", "functional", "norm", "", "stem"]
