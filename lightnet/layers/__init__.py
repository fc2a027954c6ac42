"""The layers, one idea a file, in NumPy alone. README.md says in which order to read them."""

from .activation import ELU, ReLU
from .base import Layer
from .batch_norm import BatchNorm2D
from .conv import Conv2D
from .conv_transpose import ConvTranspose2D
from .dense import Dense
from .dropout import Dropout
from .flatten import Flatten
from .merge import Add, Concat
from .pooling import AvgPool2D, GlobalAvgPool, MaxPool2D

__all__ = ["ELU", "Add", "AvgPool2D", "BatchNorm2D", "Concat", "Conv2D", "ConvTranspose2D", "Dense", "Dropout", "Flatten",
           "GlobalAvgPool", "Layer", "MaxPool2D", "ReLU"]
