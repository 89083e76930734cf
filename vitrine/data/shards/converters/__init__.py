"""Converters of data sets to shards, one for each data set."""
