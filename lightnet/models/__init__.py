"""The networks, each built node by node as its paper draws it."""

from .light_cnn import light_cnn

__all__ = ["light_cnn"]
