"""Values of Quantus on small inputs, for ``test_quantus.py``: a script for an environment of its own.

Quantus writes over OpenCV's headless folder, so it is no dependency of the tests. To make the values anew:

    python -m venv quantus && quantus/bin/pip install torch quantus==0.6.0
    quantus/bin/python tests/vitrine/metrics/quantus_values.py
"""

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

PATH = Path(__file__).with_suffix(".json")
SIDE, PATCH, STEP = 8, 4, 4
PERCENTAGES = [10, 30, 50, 70, 90]


class Double(nn.Module):
    """Quantus hands images over in float32."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """The images in float64."""
        return images.double()


def network(inputs: dict[str, Any]) -> nn.Module:
    """Three logits of (B, 1, 8, 8) images, in float64, by the weights of the inputs."""
    layers = nn.Sequential(Double(), nn.Flatten(), nn.Linear(SIDE * SIDE, 5), nn.Tanh(), nn.Linear(5, 3)).double()
    with torch.no_grad():
        for place, name in ((2, "first"), (4, "second")):
            layers.get_parameter(f"{place}.weight").copy_(torch.tensor(inputs[name]))
            layers.get_parameter(f"{place}.bias").zero_()
    return layers.eval()


def gradient_times_input(model: nn.Module, images: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """(B, 8, 8) maps of (B, 1, 8, 8) images."""
    images = images.detach().requires_grad_()
    (gradient,) = torch.autograd.grad(model(images).gather(1, targets[:, None]).sum(), images)
    return (gradient * images).detach()[:, 0]


def made_inputs() -> dict[str, Any]:
    """Random numbers of three digits, which JSON holds as they are."""
    generator = np.random.default_rng(0)

    def normal(*shape: int, scale: float = 1.0) -> list[Any]:
        values: list[Any] = (scale * generator.standard_normal(shape)).round(3).tolist()
        return values

    inputs = {
        "images": normal(3, 1, SIDE, SIDE),
        # Of equal values Quantus takes any first.
        "maps": ((generator.permutation(3 * SIDE**2) - 90) / 100).reshape(3, SIDE, SIDE).tolist(),
        "first": normal(5, SIDE * SIDE, scale=0.3),
        "second": normal(3, 5),
        "noise": normal(2, 3, 1, SIDE, SIDE, scale=0.05),
    }
    return {**inputs, "targets": network(inputs)(torch.tensor(inputs["images"])).argmax(dim=1).tolist()}


def measured(inputs: dict[str, Any]) -> dict[str, Any]:
    """What Quantus measures of them."""
    import quantus
    from quantus.functions.perturb_func import noisy_linear_imputation

    model = network(inputs)
    images, maps, targets = (np.array(inputs[name]) for name in ("images", "maps", "targets"))
    calls = {"model": model, "x_batch": images, "y_batch": targets, "channel_first": True, "device": "cpu"}
    plain: dict[str, Any] = {"normalise": False, "disable_warnings": True}
    left = [np.array(one).reshape(3, -1) for one in inputs["noise"]]

    def explain(model: nn.Module, inputs: np.ndarray, targets: np.ndarray, **_: Any) -> np.ndarray:
        found = gradient_times_input(model, torch.as_tensor(inputs), torch.as_tensor(targets))
        return found.numpy()[:, None]

    def next_noise(arr: np.ndarray, **_: Any) -> np.ndarray:
        return arr + left.pop(0)

    absolute: Any = np.abs(maps)[:, None]
    signed: Any = maps[:, None]
    imputed = noisy_linear_imputation(images[0], np.argsort(-maps[0].flatten())[:40], noise=0.0)
    return {
        "sparseness": quantus.Sparseness(**plain)(**calls, a_batch=absolute.copy()),
        "complexity": quantus.Complexity(**plain)(**calls, a_batch=absolute.copy()),
        "pixel_flipping": quantus.PixelFlipping(STEP, perturb_baseline=0.0, **plain)(
            **calls, a_batch=signed, softmax=True
        ),
        "infidelity": quantus.Infidelity(
            perturb_patch_sizes=[PATCH], n_perturb_samples=1, perturb_baseline=0.0, **plain
        )(**calls, a_batch=signed, softmax=False),
        "max_sensitivity": quantus.MaxSensitivity(nr_samples=2, perturb_func=next_noise, **plain)(
            **calls, a_batch=explain(model, images, targets), explain_func=explain
        ),
        "road": list(quantus.ROAD(PERCENTAGES, noise=0.0, **plain)(**calls, a_batch=signed).values()),
        "imputed": imputed.tolist(),
    }


def plain_numbers(value: Any) -> Any:
    """Lists and floats of what Quantus gives back."""
    if isinstance(value, np.ndarray | list | tuple):
        return [plain_numbers(entry) for entry in value]
    return float(f"{float(value):.10g}")


if __name__ == "__main__":
    inputs = made_inputs()
    values = {name: plain_numbers(value) for name, value in measured(inputs).items()}
    PATH.write_text(json.dumps({"inputs": inputs, "values": values}) + "\n", encoding="utf-8")
