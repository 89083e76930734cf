"""Data sets: shards and their converters, the synthetic an8Flower, preprocessing, and the store of computed features."""
