"""Files that appear whole or not at all, locks between processes, and what a disk error means."""
