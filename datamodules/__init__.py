"""Datamodules: how batches come to a trainer."""

from datamodules.base import ShardDataModule
from datamodules.cub import CUBDataModule
from datamodules.flower import FlowerDataModule
from datamodules.folder import FolderDataModule
from datamodules.places import PlacesDataModule
from datamodules.voc import VOCDataModule

__all__ = [
    "CUBDataModule",
    "FlowerDataModule",
    "FolderDataModule",
    "PlacesDataModule",
    "ShardDataModule",
    "VOCDataModule",
]
