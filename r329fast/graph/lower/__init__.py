"""ONNX operators to layers and back, one file a family: importer, constraints, writer."""
