"""One converter per data set: what lists its samples, from its official folders, for the shard writer."""
