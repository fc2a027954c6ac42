"""Is a layer right? Its gradients, and the whole contract that a Graph relies on."""

from .contract import check_layer
from .gradients import gradcheck

__all__ = ["check_layer", "gradcheck"]
