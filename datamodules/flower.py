"""an8Flower, a rendered set whose discriminative part is known to the pixel."""

from typing_extensions import override

from datamodules.base import ShardDataModule


class FlowerDataModule(ShardDataModule):
    """Flowers with masks of what tells their classes apart, rendered by ``python -m vitrine.an8flower``."""

    @override
    def how_to_make_shards(self) -> str:
        return f"render them with: python -m vitrine.an8flower --variant single-6c --out {self.shards}"
