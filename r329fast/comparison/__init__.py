"""Two results side by side, and dumps of layer tensors from elsewhere."""
