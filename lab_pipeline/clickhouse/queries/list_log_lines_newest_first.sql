-- Lines of a run before a cursor, newest first.
SELECT seq, timestamp, toString(level) AS level, toString(step_key) AS step_key, toString(event_type) AS event_type,
    toString(logger) AS logger, message, stack, data
FROM run_logs FINAL
WHERE run_id = {run_id:String} AND seq < {cursor:UInt64}
    AND run_logs.level IN {levels:Array(String)}
    AND (
        {text:String} = ''
        OR positionCaseInsensitiveUTF8(message, {text:String}) > 0
        OR positionCaseInsensitiveUTF8(stack, {text:String}) > 0
    )
    AND timestamp >= {start:DateTime64(6, 'UTC')} AND timestamp < {end:DateTime64(6, 'UTC')}
ORDER BY seq DESC
LIMIT {limit:UInt32}
