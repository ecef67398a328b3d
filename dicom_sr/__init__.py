"""An Analysis to DICOM objects and back; no I/O."""
