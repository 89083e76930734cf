"""Streams: shards at URLs, behind commands and in patterns, with a cache on the local disk."""
