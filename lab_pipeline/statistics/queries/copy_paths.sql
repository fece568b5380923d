-- The columns of paths that statistics need, of many runs, into one file.
COPY (
    SELECT
        CAST($first_run_no + file_index AS INTEGER) AS run_no,
        call_id,
        ath_multiple,
        pre_return_1h,
        pre_volatility_1h,
        pre_volume_1h,
        hour_of_day
    FROM read_parquet($files)
) TO '{path}' (FORMAT parquet, COMPRESSION lz4)
