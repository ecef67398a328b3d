"""DIMSE (PS3.7): queries, retrievals and workitems in reading order, and films sent by C-STORE."""
