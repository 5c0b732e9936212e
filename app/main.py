"""The MONAI Label app of medseg: the server looks for a class here."""

from medseg.label.application import LabelApp

__all__ = ["LabelApp"]
