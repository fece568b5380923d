-- Sums are of whole multiples of 2^-52 in 128 bits: exact, so that neither the order of the rows nor the way in which
-- runs are added and taken away shows in any digit. A return is off by at most half of 2.2e-16.
CREATE OR REPLACE MACRO fixed(x) AS CAST(round(x * 4503599627370496.0e0) AS DECIMAL(38, 0));
CREATE OR REPLACE MACRO unfixed(total) AS CAST(total AS DOUBLE) / 4503599627370496.0e0;
-- An aggregate's NaN or infinity says that it is undefined.
CREATE OR REPLACE MACRO defined(x) AS CASE WHEN isfinite(x) THEN x END;
-- What there is before the first run.
CREATE TEMP TABLE empty_trades (
    run_no INTEGER,
    call_id VARCHAR,
    caller VARCHAR,
    mint VARCHAR,
    called_at TIMESTAMP,
    net_return DOUBLE,
    mfe DOUBLE,
    mae DOUBLE,
    hold_minutes DOUBLE
);
CREATE TEMP TABLE empty_paths (
    run_no INTEGER,
    call_id VARCHAR,
    ath_multiple DOUBLE,
    pre_return_1h DOUBLE,
    pre_volatility_1h DOUBLE,
    pre_volume_1h DOUBLE,
    hour_of_day INTEGER
);
