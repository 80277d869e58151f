"""Timing of whole models: built here with random weights, side by side with other engines.

`models` builds ONNX networks, `cases` turns one into everything the engines need, `qdq` writes it
in the int8 form that other engines read, `engines` wraps those, `timing` interleaves them, and
`compare` returns the record. `memory` measures resident memory in a process of its own.
"""

from __future__ import annotations
