"""Kernels of ops that read or write 16-bit integers (spec B.23); any mixture of widths."""
