"""What kernels run on: compilation, cache, paths, the call table."""
