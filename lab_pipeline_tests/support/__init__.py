"""What tests of several folders share: markets, labs that run, servers to talk to, and looks at processes and files.

A helper of one folder's tests lies in that folder; no test module imports another.
"""
