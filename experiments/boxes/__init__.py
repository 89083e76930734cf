"""Localisation by boxes and the pointing game: settings of inversion masks and of their rivals, by halves of the images."""
