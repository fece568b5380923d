"""The engine as a notebook wants it: what it returns shows itself."""
