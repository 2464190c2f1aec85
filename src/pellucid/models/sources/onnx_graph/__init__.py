"""Graphs of ONNX as torch modules that can be differentiated."""
