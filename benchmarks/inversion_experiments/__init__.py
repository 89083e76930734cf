"""The experiments of section 4 of guided feature inversion (Du, Liu, Song and Hu, KDD 2018), on networks at hand."""
