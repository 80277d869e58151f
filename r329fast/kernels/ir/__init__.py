"""LLVM IR of the inner loops."""
