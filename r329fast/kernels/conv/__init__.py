"""Convolutions: layout, choice of algorithm, direct, depthwise, Winograd."""
