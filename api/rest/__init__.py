"""The JSON API below /api/v1, one module for each noun, with health and metrics."""
