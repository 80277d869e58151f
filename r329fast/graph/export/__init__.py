"""The graph as ONNX again, and run in float."""
