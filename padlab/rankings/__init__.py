"""Distributions over rankings: pure tensors, no language model."""
