"""``vitrine explain``: heatmaps, predictions and a report of a model on a folder of pictures, by one command."""
