"""an8Flower: a procedural potted flower whose classes differ in one part, with exact masks of that part.

``python -m vitrine.an8flower --help`` renders it.
"""
