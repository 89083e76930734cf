"""WebDataset shards: schema, writer, verifier, and a converter for each data set.

``python -m vitrine.shards --help`` is the command line.
"""
