"""How studies come in: the change feed, the jobs handed out, and Orthanc's own REST interface."""
