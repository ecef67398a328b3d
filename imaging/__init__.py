"""DICOM to pixels and back: reading, decoding, windowing, geometry, display, wrapping, simulated radiographs."""
