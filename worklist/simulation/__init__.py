"""A reading room, simulated event by event: how long studies wait under each way of ordering the list.

Films arrive and are read; the one order that ships is asked itself (worklist.triage and worklist.order), not a copy of
it. Standard library alone, as all of the domain, so that the gateway may compute it too.
"""
