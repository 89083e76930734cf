"""What SRAE heads of many classes cost, fitted side by side and one after the other."""
