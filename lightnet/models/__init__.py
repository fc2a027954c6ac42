"""The networks, each built node by node as its paper draws it."""

from .imagenet import load_imagenet
from .light_cnn import light_cnn
from .squeezenet import squeezenet

__all__ = ["light_cnn", "load_imagenet", "squeezenet"]
