"""The domain: study, finding, urgency and order (pure), and its records."""
