"""Workitems: Unified Procedure Steps (PS3.3 section B.26, PS3.4 Annex CC) in the DICOM JSON model."""
