"""`celeriac schedules`."""
