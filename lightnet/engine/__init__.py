"""Inference as fast as this processor goes: `compile` turns a Graph into a plan, and runs it."""

from .network import Network

__all__ = ["Network"]
