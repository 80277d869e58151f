"""What is supported: constraints, their rules, and what a model breaks."""
