"""Datamodules: how batches come to a trainer."""

from datamodules.base import ShardDataModule
from datamodules.cub import CUBDataModule
from datamodules.flower import FlowerDataModule
from datamodules.folder import FolderDataModule
from datamodules.imagenet import ImageNetDataModule
from datamodules.mnist import MNISTDataModule
from datamodules.places import PlacesDataModule
from datamodules.saliency import SaliencyDataModule
from datamodules.tiny_imagenet import TinyImageNetDataModule
from datamodules.voc import VOCDataModule

__all__ = [
    "CUBDataModule",
    "FlowerDataModule",
    "FolderDataModule",
    "ImageNetDataModule",
    "MNISTDataModule",
    "PlacesDataModule",
    "SaliencyDataModule",
    "ShardDataModule",
    "TinyImageNetDataModule",
    "VOCDataModule",
]
