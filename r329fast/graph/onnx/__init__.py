"""ONNX as a file: read, cut, folded, patterns recognised."""
