"""What is known of a run before its first step: its processes, data, classes, model, cache and disks."""

import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.trainer.states import TrainerFn
from torch import nn

from callbacks.run_access import asked, backbone_options
from callbacks.run_folder import Export
from vitrine.core.memory import amount, fit_bytes, free_bytes, free_disk_bytes, readable_size

Row = tuple[str, str]
"""What it is, and the value in words."""
RANDOM_WEIGHTS = "WARNING: random weights, as none are given; what is explained has learned nothing"
NO_EXPORT = "WARNING: trainer.callbacks holds no Export, so that nothing is exported; callbacks+: adds to the defaults"
NUMBER_BYTES = {"float16": 2, "bfloat16": 2, "float32": 4}


def rows_of_processes(trainer: pl.Trainer) -> Iterator[Row]:
    """Ranks and nodes, strategy, precision and device."""
    nodes, ranks = trainer.num_nodes, trainer.world_size
    yield "ranks", f"{ranks} on {nodes} nodes" if nodes > 1 else f"{ranks}"
    strategy = type(trainer.strategy).__name__.removesuffix("Strategy")
    yield "strategy", f"{strategy}, precision {trainer.precision}, device {trainer.strategy.root_device}"


def rows_of_data(trainer: pl.Trainer, stage: str) -> Iterator[Row]:
    """Samples, shards, workers, and the batches and steps of an epoch."""
    data = trainer.datamodule  # type: ignore[attr-defined]
    if data is None:
        yield "data", "loaders given to the trainer"
        return
    yield "data", " in ".join(filter(None, (type(data).__name__, str(asked(data, "shards") or ""))))
    if stage == "predict":
        yield "images", str(asked(data, "predict_root") or "")
        return
    splits = ["train", "held out", "test"] if stage == "fit" else ["test" if stage == "test" else "held out"]
    counts = {name: samples(data, name) for name in splits}
    yield "samples", ", ".join(f"{name} {'unknown' if n is None else n}" for name, n in counts.items())
    shards = {name: len(split.index.shards) for name, split in (asked(data, "splits") or {}).items()}
    if shards:
        yield "shards", ", ".join(f"{name} {n}" for name, n in shards.items())
    batch = asked(data, "loading.batch_size")
    if batch is not None:
        yield "batches", _batches(trainer, batch, counts.get("train"), stage)
    if asked(data, "loading.num_workers") is not None:
        yield "workers", f"{data.loading.num_workers} a rank"


def samples(data: object, part: str) -> int | None:
    """Number of samples of ``train``, ``held out`` or ``test`` over all ranks; None where the datamodule does not say."""
    split = {"held out": "val"}.get(part, part)
    try:
        if split == "val" and _holds_out(data):
            return int(asked(data, "train_count")) - int(data.num_samples("train"))  # type: ignore[attr-defined]
        return int(data.num_samples(split))  # type: ignore[attr-defined]
    except (AttributeError, TypeError, FileNotFoundError):
        return None


def _holds_out(data: object) -> bool:
    """Whether training images are held out; of a datamodule that does not say, whether it has no split ``val``."""
    told, splits = asked(data, "holds_out"), asked(data, "splits")
    return splits is not None and "val" not in splits if told is None else bool(told)


def _batches(trainer: pl.Trainer, batch: int, train: int | None, stage: str) -> str:
    ranks, accumulated = trainer.world_size, trainer.accumulate_grad_batches
    text = f"{batch} images a rank" + (f", {batch * ranks} in all" if ranks > 1 else "")
    if stage != "fit" or not train:
        return text
    batches = math.ceil(train / (batch * ranks))
    epochs = trainer.max_epochs
    of_epochs = "" if epochs is None or epochs < 0 else f", {epochs} epochs"
    return f"{text}; {batches} batches and {math.ceil(batches / accumulated)} steps an epoch{of_epochs}"


def rows_of_classes(trainer: pl.Trainer, module: pl.LightningModule) -> Iterator[Row]:
    """The data set's classes beside the network's."""
    names: Sequence[str] = asked(trainer.datamodule, "classes") or ()  # type: ignore[attr-defined]
    count, match = asked(module, "explainer.num_classes"), asked(module, "class_match")
    if names:
        yield "classes", f"{len(names)} of the data set: {_listed(names)}"
    if count is not None:
        how = f"; labels: {match.how}" if match is not None else ""
        yield "logits", f"{count} of the network{how}"
    if match is not None and not match.keeps_labels and not match.ignored:
        yield "class map", _listed([f"{name} is {index}" for name, index in zip(names, match.indices, strict=True)])


def _listed(names: Sequence[str], most: int = 6) -> str:
    return ", ".join(names[:most]) + (", …" if len(names) > most else "")


def has_random_weights(module: nn.Module) -> bool:
    """Whether what a module explains, or trains, has the weights that its constructor drew; not a network given as it is."""
    options, backbone = backbone_options(module), asked(module, "explainer.backbone")
    was_given = backbone is not None and getattr(backbone, "arguments", "") is None
    return options is not None and not was_given and options.has_random_weights


def rows_of_model(module: pl.LightningModule) -> Iterator[Row]:
    """Network, weights, heads and parameters, and the memory that their training takes."""
    options = backbone_options(module)
    if options is not None:
        yield "network", f"{options.name}, weights {options.weights or 'as its class initialises them'}"
    if has_random_weights(module):
        is_explained = asked(module, "explainer") is not None
        yield "", RANDOM_WEIGHTS if is_explained else "no weights are given: it is trained from scratch"
    explained = asked(module, "explainer.explained_classes")
    total = sum(value.numel() for value in module.parameters())
    trained = sum(value.numel() for value in module.parameters() if value.requires_grad)
    heads = f"{len(explained)} heads, " if explained else ""
    yield type(module).__name__, f"{heads}{amount(total)} parameters, {amount(trained)} of them trained now"
    free = free_bytes(module.device)
    of_free = "" if free is None else f" of {readable_size(free)} free"
    yield (
        "memory",
        f"{readable_size(fit_bytes(total, trained, 0))} for weights, gradients and moments{of_free}, without activations",
    )
    plan = asked(module, "fit_plan")  # of a fit that is solved after one pass
    if plan is not None:
        yield from plan.rows()


def cached_bytes(data: object, module: nn.Module, split: str) -> int | None:
    """Bytes that the features of a split still take on disk; None where none are kept, or nobody knows."""
    width = asked(module, "feature_width") or asked(module, "explainer.feature_width")
    count = asked(module, "explainer.num_classes")
    cached = getattr(data, "cached_samples", None)
    done = cached(split) if callable(cached) else None
    total = samples(data, split)
    if None in {width, count, done, total} or not asked(data, "features.cache"):
        return None
    size = NUMBER_BYTES.get(str(asked(data, "features.dtype")), 4)
    return max(int(total or 0) - int(done or 0), 0) * (int(width) * size + int(count) * 4)


def rows_of_disk(trainer: pl.Trainer, module: pl.LightningModule, stage: str) -> Iterator[Row]:
    """Cached features, and where results are written."""
    data = trainer.datamodule  # type: ignore[attr-defined]
    if stage == "fit" and asked(data, "features.cache") is not None:
        yield "features", _cache_state(data, module)
    folder = Path(trainer.default_root_dir)
    if stage == "fit" and not any(isinstance(callback, Export) for callback in trainer.callbacks):  # type: ignore[attr-defined]
        yield "export", NO_EXPORT
    yield "results", f"{folder} ({readable_size(free_disk_bytes(folder))} free)"


def _cache_state(data: Any, module: pl.LightningModule) -> str:
    streamed = not data.features.cache or asked(data, "augment") or asked(module, "feature_extractor") is None
    if streamed:
        return "images are streamed, and nothing is kept"
    folder = Path(data.features.folder)
    cached = getattr(data, "cached_samples", None)
    done, total = (cached("train") if callable(cached) else None), asked(data, "train_count")
    if done is None or total is None:
        return f"kept in {folder}"
    if done >= total:
        return f"all {total} kept in {folder}"
    needed = cached_bytes(data, module, "train")
    size = "" if needed is None else f", {readable_size(needed)} of {readable_size(free_disk_bytes(folder))} free"
    return f"{total - done} of {total} will be computed into {folder}{size}"


def rows_of_run(trainer: pl.Trainer, module: pl.LightningModule, stage: str) -> list[Row]:
    """All rows; those of a fit's cost are left out for other stages."""
    rows = [*rows_of_processes(trainer), *rows_of_data(trainer, stage)]
    if stage != "predict":
        rows += rows_of_classes(trainer, module)
    model = list(rows_of_model(module))
    rows += model if stage == TrainerFn.FITTING.value else [row for row in model if row[0] in {"network", ""}]
    return [*rows, *rows_of_disk(trainer, module, stage)]
