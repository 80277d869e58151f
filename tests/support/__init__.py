"""What tests share: cases, networks, readers of vectors, a browser."""
