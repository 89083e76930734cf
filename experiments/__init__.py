"""The papers' tables and figures: experiment files, the runs of ``train.py`` that they name, and what is made of them."""
