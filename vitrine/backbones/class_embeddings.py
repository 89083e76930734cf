"""Class embeddings: the ``.safetensors`` file of text embeddings that makes an image tower a zero-shot classifier."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

from vitrine.backbones.weight_files import read_weight_file, recorded_classes
from vitrine.core.atomic_io import atomic_file

EMBEDDINGS, SCALE, BIAS = "class_embeddings", "logit_scale", "logit_bias"


@dataclass(frozen=True)
class ClassEmbeddings:
    """What a zero-shot head is made of.

    Raises:
        ValueError: for embeddings that are not (n, d), not finite or zero, another number of names, and names that stand
            there twice.
    """

    embeddings: Tensor
    """(n, d), of any length; they are normalised where they are used."""
    classes: tuple[str, ...] = ()
    """n names, or none."""
    logit_scale: float | None = None
    """The factor of the cosines itself, not its logarithm; None for that of the network."""
    logit_bias: float | None = None
    """What is added; None for that of the network."""
    source: str = "class_embeddings"
    """What they are called in messages."""

    def __post_init__(self) -> None:
        shape = tuple(self.embeddings.shape)
        if len(shape) != 2 or 0 in shape or not self.embeddings.is_floating_point():
            raise ValueError(f"{self.source} must be (n, d) floating-point embeddings of n classes, got {shape}.")
        lengths = self.embeddings.double().norm(dim=1)
        wrong = ~lengths.isfinite() | (lengths == 0)
        if wrong.any():
            raise ValueError(
                f"{self.source} hold NaN, infinity or only zeros, first for class {int(wrong.nonzero()[0])}."
            )
        if self.classes and len(self.classes) != len(self.embeddings):
            raise ValueError(f"{self.source} are of {shape[0]} classes, and there are {len(self.classes)} names.")
        twice = next((name for name in self.classes if self.classes.count(name) > 1), None)
        if twice is not None:
            raise ValueError(f"{self.source} have two classes named {twice!r}; give each a name of its own.")


def write_class_embeddings(
    path: str | Path,
    embeddings: Tensor,
    classes: Sequence[str],
    logit_scale: float | None = None,
    logit_bias: float | None = None,
) -> None:
    """Writes the file that ``backbone.arguments.class_embeddings`` takes.

    It holds the tensor ``class_embeddings`` (n, d), where given the numbers ``logit_scale`` and ``logit_bias``, and in its
    metadata ``classes``, the names of the n classes, one a line.

    Args:
        path: of the file, which ends in ``.safetensors``.
        embeddings: (n, d), one of each class, of any length.
        classes: their n names.
        logit_scale: what cosines are multiplied by, 100 for most of CLIP's networks; without it that of the network, or 100.
        logit_bias: what is added then, as in SigLIP; without it that of the network, or 0.

    Raises:
        ValueError: for embeddings or names that make no sense, see `ClassEmbeddings`.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     write_class_embeddings(f"{folder}/pets.safetensors", torch.eye(2, 8), ["cat", "dog"])
        ...     read_class_embeddings(f"{folder}/pets.safetensors").classes
        ('cat', 'dog')
    """
    path = Path(path)
    if path.suffix != ".safetensors":
        raise ValueError(f"{path} must end in .safetensors, as a file of class embeddings.")
    names = tuple(name.replace("\n", " ") for name in classes)
    ClassEmbeddings(embeddings, names)
    if len(names) != len(embeddings):
        raise ValueError(f"class_embeddings are of {len(embeddings)} classes, and there are {len(names)} names.")
    tensors = {EMBEDDINGS: embeddings.detach().cpu().contiguous()}
    tensors |= {
        name: torch.tensor(float(value))
        for name, value in ((SCALE, logit_scale), (BIAS, logit_bias))
        if value is not None
    }
    with atomic_file(path) as partial:
        save_file(tensors, partial, metadata={"classes": "\n".join(names)})


def read_class_embeddings(path: str | Path) -> ClassEmbeddings:
    """Reads what `write_class_embeddings` wrote, or any file of tensors whose only matrix holds the embeddings.

    Raises:
        FileNotFoundError: where there is no such file.
        ValueError: where it holds no matrix or several, numbers that make no sense, or what `ClassEmbeddings` refuses.
    """
    path = Path(path)
    content = read_weight_file(path)
    matrices = {name: value for name, value in content.items() if isinstance(value, Tensor) and value.ndim == 2}
    if EMBEDDINGS not in matrices and len(matrices) != 1:
        raise ValueError(
            f"{path} holds {len(matrices)} matrices; save the (n, d) embeddings of the classes as {EMBEDDINGS!r}, see"
            " vitrine.backbones.class_embeddings.write_class_embeddings."
        )
    embeddings = matrices.get(EMBEDDINGS, next(iter(matrices.values())))
    numbers = {name: _number(content.get(name), name, path) for name in (SCALE, BIAS)}
    return ClassEmbeddings(embeddings, tuple(recorded_classes(path)), numbers[SCALE], numbers[BIAS], str(path))


def _number(value: Any, name: str, path: Path) -> float | None:
    if value is None:
        return None
    if not isinstance(value, Tensor) or value.numel() != 1 or not bool(value.isfinite().all()):
        raise ValueError(f"{name} of {path} must be one finite number.")
    return float(value)
