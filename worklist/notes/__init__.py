"""Clinical notes: what a text states, the risk rules that its numbers allow, and where it contradicts a film.

By rules, without any model: nothing here looks anything up, stores or logs, and every step is linear in the text.
"""
