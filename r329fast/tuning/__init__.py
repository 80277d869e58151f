"""Accuracy that int8 took, given back: ranges and weights chosen against the exact integers."""
