"""A process that has everything loaded and forks, in milliseconds, the processes that would load it for seconds.

`server` is that process, `client` whoever asks it for one. They know nothing of the lab: what is loaded, and what a
forked process may be asked to do, is the program's that serves (`lab_pipeline.cli.fork_server`).

The standard library has a fork server for `multiprocessing`. Its children belong to the one process that started it;
these belong to whoever asks, a daemon or a terminal, and outlive both and the server.
"""
