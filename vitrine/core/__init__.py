"""Building blocks of the whole package: batches, explanations, options, collectives, atomic writes, image operations.

Nothing here depends on networks, data sets or attribution methods.
"""
