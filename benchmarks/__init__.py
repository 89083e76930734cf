"""One script per claim: prints a table, writes one JSON. Ratios of two things measured in the same run."""
