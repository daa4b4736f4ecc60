"""The run: three kinds of workers round one board."""
