"""DICOM: image series in; what archives and viewers want out."""
