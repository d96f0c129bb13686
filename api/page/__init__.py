"""The monitoring page, one module for each place of it."""
