"""Stands in for torchvision, of which MONAI Label imports two functions that draw pictures nobody asked for."""

from . import utils

__all__ = ["utils"]
