"""A page to drop photos on, and the same answers as JSON for programs.

It runs from an exported model with onnxruntime alone, without torch and without training photos,
so that a small container can host it.
"""
