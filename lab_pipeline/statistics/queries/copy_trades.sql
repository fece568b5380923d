-- The columns of trades that statistics need, of many runs, into one file.
COPY (
    SELECT
        CAST($first_run_no + file_index AS INTEGER) AS run_no,
        call_id,
        caller,
        mint,
        make_timestamp(epoch_us(called_at)) AS called_at,
        net_return,
        mfe,
        mae,
        hold_minutes
    FROM read_parquet($files)
) TO '{path}' (FORMAT parquet, COMPRESSION lz4)
