"""The execution of a run: a claim, its code, and the one value in which it ends."""
