"""Who may come in, to do what, and how often."""
