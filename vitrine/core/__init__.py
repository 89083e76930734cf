"""What everything rests on: batches and explanations, sums over ranks, atomic writes, progress, image operations.

Nothing here knows of networks, data sets or methods.
"""
