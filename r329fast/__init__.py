"""The numbers that a Zhouyi Z1 NPU (Allwinner R329) computes for an int8 network."""

__version__ = "0.1.0"
