"""Sharded data sets: the schema on disk, its writer and verifier, and one converter per data set."""
