"""Layers to ops of the flat list, one file per family."""
