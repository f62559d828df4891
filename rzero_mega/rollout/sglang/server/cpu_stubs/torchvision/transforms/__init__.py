"""Names of torchvision.transforms that are needed to import SGLang."""

from enum import Enum


class InterpolationMode(Enum):
    """Ways to resize a picture; transformers makes a table of them."""

    NEAREST = "nearest"
    NEAREST_EXACT = "nearest-exact"
    BILINEAR = "bilinear"
    BICUBIC = "bicubic"
    BOX = "box"
    HAMMING = "hamming"
    LANCZOS = "lanczos"
