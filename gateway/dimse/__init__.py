"""DIMSE (PS3.7): images sent by C-STORE."""
