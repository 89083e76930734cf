"""Experiments of Oramas, Wang and Tuytelaars (ICLR 2019)."""
