"""Options of ``vitrine explain``."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from vitrine.core.options import Count, CountOrZero, Options

Labels = Literal["auto", "folders", "none"]
"""Whether the folders that pictures stand in are their labels: where they name classes of the network, all, or none."""


@dataclass(frozen=True)
class ExplainOptions(Options):
    """What is explained, by what, and where the results go.

    Args:
        images: a folder of pictures, also in folders within it, or one picture.
        model: as ``backbone.name``: a name of torchvision, ``timm:NAME``, ``hf:FOLDER``, ``model.py:MyNet``,
            ``package.module:MyNet``; or the folder of a saved explainer.
        out: the folder that the results are written to.
        weights: a file of weights, or an entry of the network's own table; without it the table's default, and ``none`` for
            random ones.
        num_classes: number of logits, where neither the network nor the file says it.
        classes: a file with the names of the logits, see `read_class_names`.
        explainers: methods of `vitrine.attribution`, ``SRAE``, ``MuLasso``, ``InversionMask``, and folders of saved
            explainers; those that suit the network without any.
        target: the class that is explained: ``predicted``, ``label``, or a class's name or index.
        labels: whether folders are labels.
        class_map: folders by name, each with a class's name or index, as ``FOLDER=CLASS``.
        size: side of the network's input in pixels; what its library says without it.
        batch_size: pictures that go through the network at once.
        device: where the network runs; ``auto`` for a GPU where there is one.
        epochs: of SRAE's fit.
        min_pictures: of a class that SRAE or the μ-Lasso is fitted on.
        seed: of all that is random.
        command: the command line, which the report shows.

    Raises:
        OptionError: for a value that makes no sense.
    """

    images: Path
    model: str
    out: Path = Path("explained")
    weights: str | None = None
    num_classes: Count | None = None
    classes: Path | None = None
    explainers: Sequence[str] = ()
    target: str = "predicted"
    labels: Labels = "auto"
    class_map: Sequence[str] = ()
    size: Count | None = None
    batch_size: Count = 16
    device: str = "auto"
    epochs: Count = 100
    min_pictures: Count = 4
    seed: CountOrZero = 0
    command: str = ""
