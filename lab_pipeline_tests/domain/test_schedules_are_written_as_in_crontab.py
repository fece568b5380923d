import pytest
from dagster._utils.schedules import is_valid_cron_string

from lab_pipeline.domain.cron import check_cron


@pytest.mark.parametrize(
    "text", ["0 * * * *", "*/15 6-22 * * mon-fri", "5,35 0-23/2 1,15 jan-mar 0", "0 0 * * 7", "59 23 31 12 *"]
)
def test_what_is_accepted_dagster_accepts_too(text):
    assert check_cron(text) == text
    assert is_valid_cron_string(text)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "five fields"),
        ("@hourly", "five fields"),
        ("0 * * *", "five fields"),
        ("0 * * * * *", "five fields"),
        ("60 * * * *", "'60' is no minute"),
        ("0 24 * * *", "'24' is no hour"),
        ("0 0 0 * *", "'0' is no day of month"),
        ("0 0 * 13 *", "'13' is no month"),
        ("0 0 * * 8", "'8' is no day of week"),
        ("0 5-3 * * *", "'5-3' is no hour"),
        ("0 5/2 * * *", "'5/2' is no hour"),
        ("*/0 * * * *", "is no minute"),
        ("x * * * *", "'x' is no minute"),
        ("1, * * * *", "'' is no minute"),
    ],
)
def test_what_is_refused_is_named(text, reason):
    with pytest.raises(ValueError, match=reason):
        check_cron(text)
