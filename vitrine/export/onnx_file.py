"""ONNX files of explainers, compared with the explainer before they are kept."""

import json
import logging
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from vitrine.backbones.image_sizes import USUAL, blank_image, working_size
from vitrine.core.atomic_io import atomic_file
from vitrine.core.error_texts import first_line
from vitrine.explainers.base import Explainer
from vitrine.export.forward_networks import ForwardNetwork, expected_results, forward_network
from vitrine.export.head_networks import LogitsNetwork

TOLERANCE = 1e-4
"""Of the largest value of each output, or of 1 where that is smaller."""
OPSET = 18


class Written(NamedTuple):
    """What an exported file takes and gives."""

    inputs: Sequence[str]
    outputs: Sequence[str]
    difference: float
    """The largest from the explainer, over the largest value of each output, or 1."""


def export_onnx(
    explainer: Explainer, path: str | Path, *, image_size: int | None = None, logits_only: bool = False
) -> Written:
    """Writes the backbone and the head of an explainer to one file, as far as they are one forward pass.

    Inputs are ``images`` (B, C, S, S), prepared as `Explainer.preprocessing` does, with any B, and for maps of a class
    ``target`` (B,) int64, −1 for the predicted class. Outputs are ``logits`` and:

    - CAM, and GradCAM on a network that ends in average pooling and one linear layer: ``heatmap`` (B, 1, S, S)
    - SRAE and its baselines: ``x_features`` and ``contributions`` (B, J, n); not their heatmaps
    - μ-Lasso: ``responses`` (B, m) and ``class_scores`` (B, C); not heatmaps of filters
    - masking networks: ``heatmap`` (B, 1, S, S)

    The file's metadata tell the classes, the preprocessing and the explainer.

    Args:
        explainer: is not changed; it is exported as it is, on the CPU.
        path: of the file, which is replaced.
        image_size: S; that of the preprocessing, or one that works, without it.
        logits_only: whether the backbone alone is exported.

    Raises:
        ValueError: for what is not one forward pass, a network that cannot be traced, and a file that does not give what the
            explainer gives.
        ModuleNotFoundError: without the extra ``onnx``.
    """
    check_installed()
    side = image_size or _side_of(explainer)
    blank = blank_image(explainer.backbone.model, 1)
    if blank.device.type != "cpu" or blank.dtype == torch.bfloat16:
        raise ValueError(
            f"The explainer is {blank.dtype} on {blank.device}; export it from the CPU in float32:"
            " explainer.to('cpu').float()."
        )
    network: ForwardNetwork = LogitsNetwork(explainer.backbone) if logits_only else forward_network(explainer, side)
    network = network.eval()
    images = _noise(blank_image(explainer.backbone.model, side), 2)
    with atomic_file(Path(path)) as partial, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        _trace(network, images, partial)
        _describe(explainer, partial)
        difference = _difference(explainer, network, partial, images, logits_only=logits_only)
    return Written(_inputs(network), network.outputs, difference)


def check_installed() -> None:
    """Raises ModuleNotFoundError, with what to install, where a package of the extra ``onnx`` is missing."""
    try:
        import onnx  # noqa: F401, PLC0415 - an optional extra
        import onnxruntime  # noqa: F401, PLC0415
        import onnxscript  # noqa: F401, PLC0415
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(f"An export to ONNX needs {error.name}: pip install 'vitrine[onnx]'") from error


def _side_of(explainer: Explainer) -> int:
    if explainer.preprocessing is not None:
        return explainer.preprocessing.size
    return getattr(explainer.options, "image_size", None) or working_size(explainer.backbone) or USUAL[0]


def _noise(like: Tensor, count: int) -> Tensor:
    return torch.randn((count, *like.shape[1:]), generator=torch.Generator().manual_seed(0)).to(like)


def _inputs(network: ForwardNetwork) -> tuple[str, ...]:
    return ("images", "target") if network.takes_target else ("images",)


def _trace(network: ForwardNetwork, images: Tensor, path: Path) -> None:
    batch = torch.export.Dim("batch", min=1)
    arguments: tuple[Tensor, ...] = (images, torch.zeros(len(images), dtype=torch.int64))
    try:
        with _quiet():
            torch.onnx.export(
                network,
                arguments if network.takes_target else arguments[:1],
                path,
                input_names=list(_inputs(network)),
                output_names=list(network.outputs),
                dynamic_shapes={name: {0: batch} for name in _inputs(network)},
                opset_version=OPSET,
                external_data=False,
                dynamo=True,
                verbose=False,
            )
    except Exception as error:  # of any kind, from the network's own code
        cause = first_line(error.__cause__ or error)
        raise ValueError(f"The network cannot be traced for ONNX: {cause}") from error


@contextmanager
def _quiet() -> Iterator[None]:
    """The exporter's remarks about operators of other packages are not for those who export."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)


def _describe(explainer: Explainer, path: Path) -> None:
    import onnx  # noqa: PLC0415 - an optional extra

    model = onnx.load(path)
    preprocessing = explainer.preprocessing.to_dict() if explainer.preprocessing else None
    entries = {
        "explainer": type(explainer).__name__,
        "classes": json.dumps(explainer.classes, ensure_ascii=False),
        "preprocessing": json.dumps(preprocessing),
        "weight_digest": explainer.backbone.digest,
    }
    onnx.helper.set_model_props(model, entries)
    onnx.save(model, path)


def _difference(
    explainer: Explainer, network: ForwardNetwork, path: Path, images: Tensor, *, logits_only: bool
) -> float:
    """The largest difference of a batch of one and of two images from the explainer itself."""
    import onnxruntime  # noqa: PLC0415 - an optional extra

    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    largest = 0.0
    for count in (1, len(images)):
        given: dict[str, Any] = {"images": images[:count].numpy()}
        if network.takes_target:
            given["target"] = torch.full((count,), -1).numpy()
        expected = expected_results(explainer, logits_only)(images[:count])
        for found, wanted in zip(session.run(None, given), expected, strict=True):
            scale = max(1.0, float(wanted.abs().max()))
            largest = max(largest, float((torch.from_numpy(found) - wanted).abs().max()) / scale)
    if not largest <= TOLERANCE:
        raise ValueError(
            f"The exported network differs by {largest:.1e} from the explainer, more than {TOLERANCE:g};"
            " the file is not kept."
        )
    return largest
