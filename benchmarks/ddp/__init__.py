"""What several ranks and workers change of a fit and a test, and what they cost."""
