"""What a lab costs that has run 100,000 backtests, beside one that has run 1,000.

Run: python -m benchmarks.growth [--runs 1000 100000] [--rounds 5]

The runs are made, not run: records in the run storage, events in the event log's index and a directory of artifacts
each, hard links to those of one small backtest that was run. What is measured is measured on the same homes that a lab
uses; the first size is the peer of the others.
"""
