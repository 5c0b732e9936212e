"""Synthetic DICOM series: slices whose places are known in closed form."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid

ROWS, COLUMNS = 3, 4


def ct_slice(position: tuple[float, float, float], series: str) -> FileDataset:
    """A CT slice of 3 rows and 4 columns, rows 1.5 mm and columns 0.5 mm apart."""
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.MediaStorageSOPClassUID = CTImageStorage
    meta.MediaStorageSOPInstanceUID = generate_uid()
    dataset = FileDataset("", {}, file_meta=meta, preamble=bytes(128))
    dataset.SOPClassUID, dataset.SOPInstanceUID = CTImageStorage, meta.MediaStorageSOPInstanceUID
    dataset.StudyInstanceUID, dataset.SeriesInstanceUID = "1.2.3", series
    dataset.Modality, dataset.ImageType = "CT", ["ORIGINAL", "PRIMARY", "AXIAL"]
    dataset.PatientName = "Doe^Jane"
    dataset.Rows, dataset.Columns, dataset.SamplesPerPixel = ROWS, COLUMNS, 1
    dataset.PhotometricInterpretation = "MONOCHROME2"
    dataset.BitsAllocated = dataset.BitsStored = 16
    dataset.HighBit, dataset.PixelRepresentation = 15, 1
    dataset.RescaleSlope, dataset.RescaleIntercept = 2, -1000
    dataset.PixelSpacing = [1.5, 0.5]
    dataset.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
    dataset.ImagePositionPatient = list(position)
    dataset.SliceThickness = 5
    pixels = np.arange(ROWS * COLUMNS, dtype=np.int16).reshape(ROWS, COLUMNS) + round(position[2] * 10)
    dataset.PixelData = pixels.tobytes()
    return dataset


@pytest.fixture
def write_series(tmp_path: Path) -> Callable[..., Path]:
    """A function that writes slices at heights ``z`` into a folder, each changed by ``change(dataset, number)``."""

    def write(
        *,
        z: tuple[float, ...] = (10.0, 12.0, 14.0, 16.0),
        change: Callable[[pydicom.Dataset, int], None] | None = None,
        folder: str = "series",
    ) -> Path:
        place = tmp_path / folder
        place.mkdir(exist_ok=True)
        for number, height in enumerate(z):
            dataset = ct_slice((-10.0, -20.0, height), series="1.2.3.4")
            if change is not None:
                change(dataset, number)
            dataset.save_as(place / f"{len(z) - number:03d}.dcm")  # names run against the heights
        return place

    return write
