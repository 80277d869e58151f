"""ONNX operators to layers and back, one file per family: importer, constraints, writer."""
