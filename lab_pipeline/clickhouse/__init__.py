"""ClickHouse: where metrics, fills and logs of runs live; embedded by default, a server or cluster by one setting."""
