"""Importers: ONNX nodes to layers, one file a family."""
