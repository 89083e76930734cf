"""Layer-wise relevance propagation (LRP) by Captum's rules, which are tested on every model."""
