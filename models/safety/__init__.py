"""What stands between a language model and a reader: five layers, each of which leaves a trace in the result.

(a) input_gate: which films and which foreign texts a language model sees at all
(b) schema: models/medgemma/prompt.py, the token limit and the check of every answer against the schema
(c) language: how the model may speak
(d) consistency: what it says must be borne out by the scores, or be marked as its own
(e) confirmation: the disclaimer, and that a radiologist has to confirm
"""
