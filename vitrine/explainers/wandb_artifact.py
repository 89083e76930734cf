"""Explainers in Weights & Biases: the folder of a ``wandb:`` name, downloaded once for each version."""

import os
import re
from pathlib import Path

PREFIX = "wandb:"
FORM = re.compile(r"wandb:(?:([^/:\s]+)/)?([^/:\s]+)/([^/:\s]+)(?::([^/:\s]+))?")
ONLINE = "it needs the network, an account (wandb login) and WANDB_MODE=online"


def is_wandb_name(name: object) -> bool:
    """Whether a name is one of an artifact in W&B, and no folder."""
    return isinstance(name, str) and name.startswith(PREFIX)


def explainer_folder(name: str) -> Path:
    """The folder of an explainer that W&B keeps, downloaded where this version is not there yet.

    Args:
        name: ``wandb:ENTITY/PROJECT/NAME:VERSION``; the version is a number such as ``v3``, or ``latest`` or ``best``.
            Without ``ENTITY/`` the account's own is taken, without ``:VERSION`` the latest.

    Returns:
        A folder in ``WANDB_ARTIFACT_DIR``, or else in ``~/.cache/vitrine/wandb``.

    Raises:
        ValueError: for a name of another form, and what W&B does not have or is no explainer.
        ModuleNotFoundError: where W&B is not installed.
        ConnectionError: where it is not to be asked, or does not answer.
    """
    match = FORM.fullmatch(name)
    if match is None:
        raise ValueError(f"{name!r} is no name of an explainer in W&B; give wandb:ENTITY/PROJECT/NAME:VERSION.")
    entity, project, artifact, version = match.groups()
    mode = os.environ.get("WANDB_MODE", "online")
    if mode != "online":
        raise ConnectionError(f"{name} is in W&B, and WANDB_MODE is {mode}: {ONLINE}.")
    path = "/".join(filter(None, (entity, project, f"{artifact}:{version or 'latest'}")))
    return _downloaded(name, path)


def _downloaded(name: str, path: str) -> Path:
    try:
        import wandb  # noqa: PLC0415, TID251 - only these names need it
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(f"{name} is in W&B, which is not installed: pip install 'vitrine[wandb]'.") from error
    try:
        found = wandb.Api().artifact(path)
        if found.type != "explainer":
            raise ValueError(f"{name} is an artifact of type {found.type!r}; give one of type 'explainer'.")
        cache = Path(os.environ.get("WANDB_ARTIFACT_DIR") or Path.home() / ".cache" / "vitrine" / "wandb")
        # Files that are there with the right checksum are not downloaded again.
        return Path(found.download(root=str(cache / found.entity / found.project / found.name.replace(":", "-"))))
    except wandb.errors.Error as error:
        told = " ".join(str(error).split())
        raise ConnectionError(f"{name} cannot be had from W&B ({told}); {ONLINE}.") from error
