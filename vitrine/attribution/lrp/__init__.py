"""Layer-wise relevance propagation (LRP): rules by operator, composites of them, AttnLRP, and conditional relevance."""
