"""Graph + dataset -> ranges."""
