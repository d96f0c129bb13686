"""What starts runs by the clock, and who may change it."""
