"""How well explanations find what alone tells the classes of an8Flower apart (table 1 of Oramas et al., ICLR 2019)."""
