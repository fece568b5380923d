"""Sweeps over a lake: from a file that says what to search to a winner, a verdict, and published artifacts."""
