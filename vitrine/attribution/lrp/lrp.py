"""Layer-wise relevance propagation, LRP (Bach et al.: On Pixel-Wise Explanations, PLoS ONE 2015)."""

from typing import Any

import torch
from torch import Tensor, nn
from typing_extensions import override

from vitrine.attribution.autograd.gradient_flow import differentiating
from vitrine.attribution.base import Method
from vitrine.attribution.captum_adapter import captum_attr
from vitrine.attribution.lrp.rules import ExplainedCopy, check_rules, relevance
from vitrine.attribution.targets import Target
from vitrine.backbones.outputs import OutputChoice
from vitrine.backbones.structure import structure
from vitrine.core.options import Count, checked


class LRP(Method):
    """Relevance of the pixels by the ε-rule, R_j = Σ_k a_j w_jk / (z_k + ε sign z_k) · R_k: (B, C, H, W).

    Relevance starts as the explained output, R = f(x). Biases absorb what they contribute: without them a map sums to f(x).
    If all activations are ReLUs, LRP is gradient × input, up to ε (Ancona et al., ICLR 2018). For a channel with places, f is
    its sum over them. Maps are float32 or wider.

    Captum computes the maps, on a copy of the model, with ε = 1e-9. Its rules belong to modules and miss operators called in
    between, such as the sum of a residual block, whose relevance would be doubled, or a mean over space. So the first call
    tests the rules (see `vitrine.attribution.lrp.rules.check_rules`), and a model for which they are wrong is refused.

    Args:
        model: as in `Method`. Its layers must be `nn.Linear`, `nn.Conv2d`, `nn.BatchNorm2d`, `nn.MaxPool2d`,
            `nn.AvgPool2d`, `nn.AdaptiveAvgPool2d`, `nn.ReLU`, `nn.Tanh`, `nn.Dropout`, `nn.Dropout2d`, `nn.Flatten` or
            `nn.Identity`; only ReLU, tanh and dropout may be called more than once.
        layer: as in `Method`.
        internal_batch_size: as in `Method`.
        output: as in `Method`.

    Raises:
        ValueError: as in `Method`; of ``attribute`` also if Captum's rules are wrong or missing for the model.
        ModuleNotFoundError: if Captum is not installed.

    Example:
        >>> import torch
        >>> from torch import nn
        >>> model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 6 * 6, 5))
        >>> LRP(model).attribute(torch.rand(2, 3, 8, 8), target=1).shape
        torch.Size([2, 3, 8, 8])
    """

    gradient_like = True
    signed = True
    additive = True
    smoothed_for_pointing = True
    network_requirement = "layers for which Captum has a rule, and no operators between them, such as sums"
    needs_captum = True
    paper = "Bach et al. 2015"

    @checked
    def __init__(
        self,
        model: nn.Module,
        layer: str | nn.Module | None = None,
        *,
        internal_batch_size: Count | None = None,
        output: OutputChoice | None = None,
    ) -> None:
        super().__init__(model, layer, internal_batch_size=internal_batch_size, output=output)
        captum_attr("LRP")
        self._checked: dict[str | None, tuple[Any, ...]] = {}

    @override
    def maps(self, inputs: Tensor, target: Target) -> Tensor:
        indices = self.target_indices(inputs, target)
        pixels = inputs.to(torch.promote_types(inputs.dtype, torch.float32))
        maps = pixels.new_zeros(*indices.shape, *pixels.shape[1:])
        if maps.numel():
            with differentiating(self.model), torch.autocast(inputs.device.type, enabled=False):
                self._check_rules(target.layer, pixels)
                network = ExplainedCopy(self.model, target.layer, pixels.dtype)
                for k, column in enumerate(indices.unbind(dim=1)):
                    maps[:, k] = relevance(network, pixels, column)
        return maps

    def _check_rules(self, layer: str | None, pixels: Tensor) -> None:
        present = structure(self.model)
        if self._checked.get(layer) != present:
            check_rules(ExplainedCopy(self.model, layer, _check_dtype(pixels)), pixels)
            self._checked[layer] = present


def _check_dtype(tensor: Tensor) -> torch.dtype:
    # CUDA may round convolutions to TF32, which would look like lost relevance; Apple's devices lack float64.
    return torch.float32 if tensor.device.type == "mps" else torch.float64
