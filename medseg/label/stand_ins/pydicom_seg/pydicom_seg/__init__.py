"""Stands in for pydicom-seg, which does not run with pydicom 3; MONAI Label reads segmentations back with it.

Reading is done by dcmqi's ``segimage2itkimage``, which comes with the extra ``label``. Writing is dcmqi's in MONAI
Label itself.
"""

import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import SimpleITK

__all__ = ["MultiClassReader", "template"]


@dataclass(frozen=True)
class _Read:
    image: Any


class MultiClassReader:
    """Reads a DICOM SEG into one label image, as pydicom-seg's class of that name."""

    def read(self, dataset: Any) -> _Read:
        """The label image (SimpleITK) of a data set of pydicom."""
        program = shutil.which("segimage2itkimage")
        if program is None:
            raise ImportError("segimage2itkimage is not installed: pip install dcmqi")
        with tempfile.TemporaryDirectory() as folder:
            source = Path(folder) / "seg.dcm"
            dataset.save_as(source)
            subprocess.run(
                [program, "--inputDICOM", str(source), "--outputDirectory", folder, "-t", "nrrd", "--mergeSegments"],
                check=True,
                capture_output=True,
            )
            images = sorted(Path(folder).glob("*.nrrd"))
            return _Read(SimpleITK.ReadImage(str(images[0])))


class template:  # noqa: N801  a module of pydicom-seg
    """What pydicom-seg makes of dcmqi's description; dcmqi takes it as it is."""

    @staticmethod
    def from_dcmqi_metainfo(description: Any) -> Any:
        """The description."""
        return description
