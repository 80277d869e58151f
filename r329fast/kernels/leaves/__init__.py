"""The inner loops as functions that kernels call, each with a twin in Python."""
