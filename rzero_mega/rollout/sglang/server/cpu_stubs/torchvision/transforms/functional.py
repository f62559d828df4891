"""Names of torchvision.transforms.functional that are needed to import SGLang."""

from typing import Any, NoReturn

from . import InterpolationMode

__all__ = ["InterpolationMode", "pil_to_tensor"]


def pil_to_tensor(pic: Any) -> NoReturn:
    """A picture as a tensor: not here."""
    raise NotImplementedError("torchvision is a stand-in for CPU servers, which read text only")
