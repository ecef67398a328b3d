"""DICOMweb, as viewers and other systems ask for it."""
