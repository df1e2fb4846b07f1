"""One file an analysis: its arithmetic on arrays, and a registered class with compute, records and plot."""
