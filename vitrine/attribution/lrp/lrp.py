"""Layer-wise relevance propagation (Bach et al.: On Pixel-Wise Explanations, PLoS ONE 2015)."""

import torch
from torch import Tensor, nn
from typing_extensions import override

from vitrine.attribution.base import Method, Unit
from vitrine.attribution.gradient.captum_methods import captum_attr
from vitrine.attribution.lrp.rules import ExplainedCopy, relevance, try_rules


class LRP(Method):
    """Relevance of the pixels by the ε-rule, R_j = Σ_k a_j w_jk / (z_k + ε sign z_k) · R_k: (B, C, H, W).

    It starts as the explained output itself, R = f(x). Biases swallow what they contribute: without them a map sums to f(x).
    Where all activations are ReLUs it is gradient × input, up to ε (Ancona et al., ICLR 2018). Of a channel with places, f
    is its sum over them. Maps are float32 or wider.

    Captum does the work, on a copy of the model, with ε = 1e-9. Its rules belong to modules and do not see operators called
    in between, such as the sum of a residual block, whose relevance comes out doubled, or a mean over space. So the first
    call tries them (see `vitrine.attribution.lrp.rules.try_rules`), and a model for which they are wrong is refused.

    Args:
        model: as in `Method`. Its layers must be `nn.Linear`, `nn.Conv2d`, `nn.BatchNorm2d`, `nn.MaxPool2d`,
            `nn.AvgPool2d`, `nn.AdaptiveAvgPool2d`, `nn.ReLU`, `nn.Tanh`, `nn.Dropout`, `nn.Dropout2d`, `nn.Flatten` or
            `nn.Identity`; all but ReLU, tanh and dropout may be called only once.
        layer: as in `Method`.
        internal_batch_size: as in `Method`.

    Raises:
        ValueError: of ``attribute`` for a model for which Captum's rules are wrong, or missing.
        ModuleNotFoundError: where Captum is not installed.
    """

    def __init__(
        self, model: nn.Module, layer: str | nn.Module | None = None, *, internal_batch_size: int | None = None
    ) -> None:
        super().__init__(model, layer, internal_batch_size=internal_batch_size)
        captum_attr("LRP")
        self._tried: set[str | None] = set()

    @override
    def maps(self, inputs: Tensor, unit: Unit) -> Tensor:
        with torch.no_grad():
            units = unit.of(self.explained_output(inputs.clone(), unit)).clone()  # they may be from inference mode
        pixels = inputs.to(torch.promote_types(inputs.dtype, torch.float32))
        maps = pixels.new_zeros(*units.shape, *pixels.shape[1:])
        if maps.numel():
            with torch.autocast(inputs.device.type, enabled=False):
                self._try_once(unit.layer, pixels)
                network = ExplainedCopy(self.model, unit.layer, pixels.dtype)
                for k, column in enumerate(units.unbind(dim=1)):
                    maps[:, k] = relevance(network, pixels, column)
        return maps

    def _try_once(self, layer: str | None, pixels: Tensor) -> None:
        if layer not in self._tried:
            try_rules(ExplainedCopy(self.model, layer, _type_of_trial(pixels)), pixels)
            self._tried.add(layer)


def _type_of_trial(tensor: Tensor) -> torch.dtype:
    # Convolutions on CUDA may be rounded to TF32, which would be taken for lost relevance; Apple's devices lack float64.
    return torch.float32 if tensor.device.type == "mps" else torch.float64
