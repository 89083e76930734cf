"""Options of ``vitrine serve``."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from vitrine.core.options import Count, CountOrZero, OptionError, Options, Range

Port = Annotated[int, Range(at_least=1, at_most=65535)]


@dataclass(frozen=True)
class ServeOptions(Options):
    """What is served, where, and what may be uploaded.

    Args:
        explainers: folders of saved explainers.
        model: a network that attribution methods explain, named as in `vitrine.explainer`.
        weights: of ``model``, as in `vitrine.explainer`.
        classes: a file with the names of the logits of ``model``.
        num_classes: number of logits of ``model``, where neither it nor its weights say it.
        methods: attribution methods that are chosen at first, by short or full names; the saved explainers, or methods that
            suit the network, without any.
        size: side of the input of ``model`` in pixels; what its library says without it.
        device: where networks run; ``auto`` for a GPU where there is one.
        host: address that the page is served on; others than this machine's own make it public.
        port: the first free one from 7860 without it.
        max_megabytes: of an uploaded picture.
        max_megapixels: of an uploaded picture.
        seed: of methods that draw random numbers.

    Raises:
        OptionError: for a value that makes no sense, and where there is nothing to serve.
    """

    explainers: Sequence[str] = ()
    model: str | None = None
    weights: str | None = None
    classes: Path | None = None
    num_classes: Count | None = None
    methods: Sequence[str] = ()
    size: Count | None = None
    device: str = "auto"
    host: str = "127.0.0.1"
    port: Port | None = None
    max_megabytes: Count = 20
    max_megapixels: Count = 40
    seed: CountOrZero = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.explainers and self.model is None:
            raise OptionError("model", None, "a network such as resnet50, or folders of saved explainers")
