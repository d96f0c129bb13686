"""What is started: the command line, and everything in one terminal. It stands on all others; nothing imports it."""
