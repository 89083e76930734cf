"""WebDataset shards: their schema, the writer, the verifier, and one converter per data set.

``python -m vitrine.shards --help`` is the command line.
"""
