"""an8Flower, a rendered set whose discriminative part is known to the pixel."""

from typing import Any

from typing_extensions import override

from datamodules.base import ShardDataModule
from datamodules.split_sources import ShardsOption, is_set_folder
from vitrine.core.options import checked
from vitrine.data.an8flower.settings import FlowerSettings


class FlowerDataModule(ShardDataModule):
    """Flowers with masks of what tells their classes apart, rendered here or by ``python -m vitrine.an8flower``.

    Args:
        shards: folder of the shards, as in `ShardDataModule`.
        render: what is rendered into ``shards`` where it is not there; nothing without it. Shards of other settings are
            refused.
        kwargs: further options of `ShardDataModule`.
    """

    @checked
    def __init__(self, shards: ShardsOption, render: FlowerSettings | None = None, **kwargs: Any) -> None:
        super().__init__(shards, **kwargs)
        self.render = render

    @override
    def prepare_data(self) -> None:
        """Renders the splits that are not there.

        Raises:
            ModuleNotFoundError: where what renders is not installed.
            ValueError: where the shards there are of other settings.
        """
        if self.render is None or not is_set_folder(self.shards):
            return
        try:
            from vitrine.data.an8flower.generate import generate  # noqa: PLC0415 - needs the extra synthetic
        except ModuleNotFoundError as error:
            raise ModuleNotFoundError(
                "data.init_args.render needs trimesh and embreex: pip install 'vitrine[synthetic]', or give null to take the"
                " shards that are there."
            ) from error
        generate(self.render, self.shards, if_missing=True)

    @override
    def how_to_make_shards(self) -> str:
        made = f"python -m vitrine.an8flower --variant single-6c --out {self.shards}"
        return f"give what to render as data.init_args.render.variant, such as single-6c, or render them with: {made}"
