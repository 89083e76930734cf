"""Fit, validate, test or apply an explainer, or the classifier that it explains.

    python train.py fit     -c configs/quickstart.yaml
    python train.py test    -c configs/quickstart.yaml
    python train.py predict -c configs/quickstart.yaml --data.init_args.predict_root my_images
    python train.py explain --images my_images --model resnet50

Values given on the command line override the configuration files; ``--print_config`` shows what comes out.
"""

import atexit
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

from jsonargparse import Namespace, set_parsing_settings
from lightning_fabric.utilities.exceptions import MisconfigurationException
from omegaconf.errors import OmegaConfBaseException
from pytorch_lightning import LightningDataModule, LightningModule, Trainer
from pytorch_lightning.cli import ArgsType, LightningArgumentParser, LightningCLI
from torch.multiprocessing.spawn import ProcessRaisedException
from typing_extensions import override

import callbacks  # classes can be named without their module once it is imported
import datamodules
import lightning_modules
from callbacks.checkpoint import RunCheckpoint
from callbacks.comparison import ComparisonTable
from callbacks.epoch_lines import with_own_bar
from callbacks.image_figures import ImageFigures
from callbacks.launch import check_strategy, sentence_of_spawned, slurm_plugins
from callbacks.metrics_table import MetricsTable
from callbacks.preflight import Preflight
from callbacks.quiet_output import quieten, tell_warnings_once
from callbacks.run_access import is_trial
from callbacks.run_folder import EpochMetrics, MetricsFile, RunConfig
from callbacks.run_index import RunIndex
from callbacks.run_name import RunName
from callbacks.run_start import checkpoint_of_fit, checkpoint_to_read, folder_lock, restoring_told
from callbacks.settings_table import SettingsTable
from callbacks.skipped_samples import SkippedSamples
from callbacks.stop_signals import StopSignals
from callbacks.tracked_table import TrackedTable
from callbacks.tracking import Tracking, folder_of_sweep, prepare_wandb, with_csv
from callbacks.unfit import leave_out_unfit
from lightning_modules.short_names import explainer_names, method_names, with_model_words
from vitrine.core.config_files import with_found_files, with_found_words
from vitrine.core.credentials import hide_credentials
from vitrine.core.distributed import leave_process_group
from vitrine.core.interpolations import with_interpolations
from vitrine.core.options import with_full_key
from vitrine.core.parser_messages import one_sentence
from vitrine.core.rank_failures import is_told_first, shared_failures
from vitrine.core.verbosity import is_verbose, set_level
from vitrine.explain.cli import main as explain

CONFIGS = Path(__file__).resolve().parent / "configs"
DEFAULTS = CONFIGS / "trainer" / "default.yaml"
FILE_OPTIONS = ("-c", "--config", "--data", "--model")
ROOTS = {"trainer": Trainer, "checkpoint": RunCheckpoint, "signals": StopSignals}
BEFORE_RESOLVING = {"skip_validation": True, "skip_unset": False, "skip_link_targets": False}
"""How jsonargparse dumps a configuration to resolve its interpolations."""
USER_ERRORS = (
    ValueError,
    OSError,  # files that are not there, folders that cannot be written to, full disks
    ModuleNotFoundError,
    MisconfigurationException,
)


class OneSentenceParser(LightningArgumentParser):
    """A parser, also of the classes within, that takes no abbreviations and whose errors are one sentence."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **{**kwargs, "allow_abbrev": False})
        self.file: str | os.PathLike[str] = ""
        self.folder = Path()  # of that file
        self.command: str | None = None  # that it reads the options of
        self.unresolved = ""  # the configuration before its interpolations were resolved, where it has any

    @override
    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        if not self.exit_on_error:  # a parser around this one adds its key, or tries another type
            super().error(message, ex)
        if message.startswith(("Problems parsing config: ", "Unexpected config: ")):
            message = f"{self.file} is not a YAML file of keys and values: {message.partition(': ')[2]}"
        fail(one_sentence(message, known_classes(), ROOTS))

    @override
    def dump(self, cfg: Namespace, **kwargs: Any) -> str:
        """Text of a configuration, in which values of resolvers, such as environment variables, stay interpolations."""
        text = str(super().dump(cfg, **kwargs))
        if kwargs == BEFORE_RESOLVING and "${" in text:
            self.unresolved = text
            return text
        parser, below = (self, ()) if self.unresolved or self.command is None else (self.parent_parser, (self.command,))
        unresolved = getattr(parser, "unresolved", "")
        return with_interpolations(text, unresolved, below) if unresolved else text

    @override
    def parse_path(self, path: str | os.PathLike[str], *args: Any, **kwargs: Any) -> Namespace:
        self.file, self.folder = path, Path(path).resolve().parent  # within, the current folder is another
        return super().parse_path(path, *args, **kwargs)

    @override
    def parse_string(self, content: str, path: str | os.PathLike[str] = "", *args: Any, **kwargs: Any) -> Namespace:
        if path:
            try:
                content = with_found_files(content, self.folder, CONFIGS)
            except FileNotFoundError as error:
                fail(str(error))
        return super().parse_string(content, path, *args, **kwargs)

    @override
    def parse_args(self, args: Sequence[str] | None = None, *more: Any, **kwargs: Any) -> Namespace:
        if self.exit_on_error:
            words = with_model_words(sys.argv[1:] if args is None else args)
            args = with_found_words(words, FILE_OPTIONS, CONFIGS)
        if not self.exit_on_error and args is not None:  # jsonargparse hands null to an inner parser as Python's None
            args = [f"{arg.removesuffix('None')}null" if arg.endswith("=None") else arg for arg in args]
        return super().parse_args(args, *more, **kwargs)


class TrainCLI(LightningCLI):
    """LightningCLI in which the configuration decides every value and a run lives in ``trainer.default_root_dir``."""

    @override
    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self._placed: list[Namespace] = []  # options of loggers that were put into the run's folder
        given = kwargs.get("args")
        words = sys.argv[1:] if given is None else given if isinstance(given, list) else []
        self._first_word = words[0] if words else ""
        super().__init__(*args, **kwargs)

    @staticmethod
    @override
    def subcommands() -> dict[str, set[str]]:
        """Commands, and what of their methods is no option: ``--verbose`` is one of all commands."""
        return {name: {*left_out, "verbose"} for name, left_out in LightningCLI.subcommands().items()}

    @override
    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        parser.add_lightning_class_args(RunCheckpoint, "checkpoint")
        parser.add_lightning_class_args(StopSignals, "signals")

    @override
    def _prepare_subcommand_parser(self, klass: type, subcommand: str, **kwargs: Any) -> LightningArgumentParser:
        if self._first_word in {"-h", "--help", *self.subcommands()} - {subcommand}:
            return self.init_parser(
                **kwargs
            )  # will not be asked, and to collect its options takes as long as a small run
        parser = super()._prepare_subcommand_parser(klass, subcommand, **kwargs)
        parser.command = subcommand
        parser.add_argument("-v", "--verbose", action="store_true", help="tell all, also what Lightning says of itself")
        parser.add_argument("-q", "--quiet", action="store_true", help="tell results and warnings alone")
        if subcommand == "fit":
            parser.add_argument("--overwrite", type=bool, default=False, help="remove the run that the folder holds")
        return parser

    @override
    def before_instantiate_classes(self) -> None:
        """Puts loggers without a place of their own into the run's folder."""
        config = self.config[self.subcommand]
        set_level(verbose=config.verbose, quiet=config.quiet)
        trainer = config.trainer
        trainer.default_root_dir = folder_of_sweep(trainer.default_root_dir)
        check_strategy(trainer.strategy)
        for options in _logger_options(trainer):
            if getattr(options, "save_dir", None) == ".":
                options.save_dir = trainer.default_root_dir or "."
                self._placed.append(options)

    @override
    def parse_arguments(self, parser: LightningArgumentParser, args: ArgsType) -> None:
        try:
            super().parse_arguments(parser, args)
        except OmegaConfBaseException as error:
            parser.error(str(error))

    @override
    def instantiate_classes(self) -> None:
        try:
            super().instantiate_classes()
        except ValueError as error:
            config = self.config[self.subcommand].as_dict()
            raise ValueError(with_full_key(one_sentence(str(error)), config)) from error
        leave_out_unfit(self.trainer, self.model)
        for options in self._placed:
            options.save_dir = "."  # as it was given: the saved configuration is used for other folders too

    @override
    def instantiate_trainer(self, **kwargs: Any) -> Trainer:
        # Under inference mode a test could take no gradient; without gradients being asked for, no_grad is as fast.
        kwargs["inference_mode"] = False
        options = self._get(self.config_init, "trainer")
        kwargs["plugins"] = slurm_plugins(options.get("plugins"))
        kwargs["logger"] = with_csv(options.get("logger"), options.get("default_root_dir") or ".", str(self.subcommand))
        given = list(options.get("callbacks") or [])  # the trainer adds to the list itself
        if options.get("enable_model_summary") is None:
            kwargs["enable_model_summary"] = is_verbose()
        try:
            trainer = super().instantiate_trainer(**kwargs)
        except TypeError as error:  # Lightning's own for values such as --trainer.devices x
            raise ValueError(str(error)) from error
        except RuntimeError as error:
            told, _, _ = str(error).partition(". ")
            if "more than one stateful callback" not in told:
                raise
            raise ValueError(f"trainer.callbacks: {told}; give it once.") from error
        own = with_own_bar(trainer.callbacks, given)  # type: ignore[attr-defined]
        trainer.callbacks = [EpochMetrics(), *own]  # type: ignore[attr-defined]
        return trainer

    @override
    def _parse_ckpt_path(self) -> None:
        """Keeps hyperparameters stored in ``--ckpt_path`` from overriding the command line."""

    @override
    def _prepare_subcommand_kwargs(self, subcommand: str) -> dict[str, Any]:
        kwargs = super()._prepare_subcommand_kwargs(subcommand)
        trainer, wanted = self.trainer, kwargs.get("ckpt_path")
        folder = Path(trainer.default_root_dir)
        if subcommand in {"validate", "test"}:
            kwargs["verbose"] = is_verbose()  # Lightning's own table of all figures
        if subcommand == "predict":
            kwargs["return_predictions"] = False  # callbacks write them; kept, they would fill the memory
        if subcommand != "fit":
            kwargs["ckpt_path"] = checkpoint_to_read(folder, wanted, self.model)
        elif is_trial(trainer):
            kwargs["ckpt_path"] = None  # tries one batch of each; Lightning does not let it go on with more epochs
        else:
            overwrite = self._get(self.config, "overwrite")
            kwargs["ckpt_path"] = checkpoint_of_fit(
                folder, wanted, overwrite=overwrite, is_first=trainer.is_global_zero
            )
        prepare_wandb(trainer, RunName.of(self.model, self.datamodule))  # of the run that is left in the folder
        return kwargs

    @override
    def _run_subcommand(self, subcommand: str) -> None:
        """Runs it while no other run is at work in the run's folder, and stops it where a signal says so."""
        folder = Path(self.trainer.default_root_dir)
        signals = next(one for one in self.trainer.callbacks if isinstance(one, StopSignals))  # type: ignore[attr-defined]
        lock = folder_lock(folder, subcommand, held=self.trainer.is_global_zero)
        with lock, signals.handled(self.trainer), restoring_told(self.trainer):
            super()._run_subcommand(subcommand)


def _logger_options(trainer: Namespace) -> list[Namespace]:
    loggers = trainer.logger if isinstance(trainer.logger, list) else [trainer.logger]
    return [logger.init_args for logger in loggers if getattr(logger, "init_args", None) is not None]


def known_classes() -> list[str]:
    """Class names that need no module before them, and short names of models."""
    classes = [name for folder in (lightning_modules, datamodules, callbacks) for name in folder.__all__]
    return [*classes, *explainer_names(), *method_names()]


def fail(message: str) -> NoReturn:
    """Ends the program with one sentence, of one rank where several fail, and exit code 2."""
    if is_told_first(2):
        sys.stderr.write(f"error: {' '.join(hide_credentials(message).split())}\n")
        sys.stderr.flush()
    raise SystemExit(2)


def main(args: ArgsType = None) -> TrainCLI:
    """Runs the command line; ``args`` stands in for ``sys.argv``."""
    words = sys.argv[1:] if args is None else args
    if isinstance(words, list) and words[:1] == ["explain"]:  # needs no Lightning, see vitrine.explain
        raise SystemExit(explain(words[1:], prog="train.py explain"))
    os.environ.setdefault("WANDB_MODE", "offline")  # no account is needed until somebody asks for one
    quieten()
    set_parsing_settings(omegaconf_absolute_to_relative_paths=True)
    exact = {"allow_abbrev": False}
    commands = {name: {**exact, "default_config_files": [str(DEFAULTS)]} for name in LightningCLI.subcommands()}
    try:
        return TrainCLI(
            LightningModule,
            LightningDataModule,
            subclass_mode_model=True,
            subclass_mode_data=True,
            auto_configure_optimizers=False,
            save_config_callback=RunConfig,
            trainer_defaults={
                "callbacks": [
                    Preflight(),
                    MetricsFile(),
                    MetricsTable(),
                    SkippedSamples(),
                    ImageFigures(),
                    ComparisonTable(),
                    SettingsTable(),
                    TrackedTable(),
                    Tracking(),
                    RunIndex(),
                ]
            },
            seed_everything_default=0,
            parser_class=OneSentenceParser,
            parser_kwargs={"parser_mode": "omegaconf+", **exact, **commands},
            load_from_checkpoint_support=False,
            args=args,
        )
    except USER_ERRORS as error:
        if os.environ.get("VITRINE_TRACEBACK"):
            raise
        fail(one_sentence(str(error)))
    except ProcessRaisedException as error:
        told = sentence_of_spawned(error, USER_ERRORS)
        if told is None or os.environ.get("VITRINE_TRACEBACK"):
            raise
        fail(one_sentence(told))


if __name__ == "__mp_main__":  # a rank that strategy ddp_spawn has started
    quieten()
    tell_warnings_once()
if __name__ == "__main__":
    tell_warnings_once()
    atexit.register(leave_process_group)
    with shared_failures():
        main()
