"""Intake from Orthanc, the reading list, its events and its pages."""
