"""Who did what with whom: kept, chained and told to the hospital's audit repository (DICOM PS3.15, section A.5)."""
