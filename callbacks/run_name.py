"""Name and tags of a run in W&B: explainer, network and data set, such as ``srae-resnet18-cub``."""

import re
from pathlib import Path
from typing import NamedTuple

from pytorch_lightning import LightningModule

from callbacks.run_access import asked, backbone_options, explainers_of

NO_OWN_NAME = {"folder", "shard", "converted"}
"""Datamodules of any data set, which is called as its folder."""
WORD = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")
FORBIDDEN = re.compile(r"[^a-z0-9_.]+")
"""What W&B takes in no name of an artifact."""


class RunName(NamedTuple):
    """What a run explains, which network, and on which images."""

    explainer: str
    backbone: str
    data: str

    def __str__(self) -> str:
        return "-".join(filter(None, self))

    @property
    def tags(self) -> list[str]:
        """Its parts, at most 64 characters each, as W&B takes them."""
        return [part[:64] for part in self if part]

    @classmethod
    def of(cls, module: LightningModule, datamodule: object) -> "RunName":
        """The name of what a module does with a data set."""
        return cls(_explainer(module), _backbone(module), "" if datamodule is None else _data(datamodule))


def _explainer(module: LightningModule) -> str:
    method = asked(module, "explainer.options.method")
    if isinstance(method, str) and not explainers_of(module):
        return _plain(method)
    return _plain(WORD.sub("-", type(module).__name__.removesuffix("Module")))


def _backbone(module: LightningModule) -> str:
    options = backbone_options(module)
    return "" if options is None else _plain(re.split(r"[/:]", options.name.rstrip("/"))[-1])


def _data(datamodule: object) -> str:
    name = type(datamodule).__name__.removesuffix("DataModule").lower()
    folder = next(filter(None, (asked(datamodule, path) for path in ("root", "shards"))), None)
    return _plain(Path(folder).name if name in NO_OWN_NAME and isinstance(folder, str | Path) else name)


def _plain(name: str) -> str:
    return FORBIDDEN.sub("-", name.lower()).strip("-.")
