import pytest

from lab_pipeline.domain.errors import InvalidConfigError
from lab_pipeline.settings import load_settings


@pytest.mark.parametrize(
    ("set_", "wrong"),
    [
        ({"WEBHOOK_URL": "https://x.test/"}, "LAB_WEBHOOK_SECRET: is needed with LAB_WEBHOOK_URL"),
        ({"WEBHOOK_URL": "x.test", "WEBHOOK_SECRET": "s"}, "LAB_WEBHOOK_URL: write an address that begins with https"),
        ({"WEBHOOK_URL": "https://x.test/", "WEBHOOK_SECRET": "whsec_%"}, "LAB_WEBHOOK_SECRET: what follows whsec_"),
        ({"NIGHTLY_CRON": "at night"}, "LAB_NIGHTLY_CRON: write five fields"),
        ({"NIGHTLY_WINDOW_DAYS": "0"}, "LAB_NIGHTLY_WINDOW_DAYS"),
        ({"AUTOMATION_TIMEFRAME": "7m"}, "LAB_AUTOMATION_TIMEFRAME: '7m' does not divide a day evenly"),
    ],
)
def test_a_setting_that_cannot_be_used_is_named(monkeypatch, set_, wrong):
    for name, value in set_.items():
        monkeypatch.setenv(f"LAB_{name}", value)
    with pytest.raises(InvalidConfigError) as error:
        load_settings()
    assert wrong in str(error.value)


def test_secrets_are_not_shown(monkeypatch):
    monkeypatch.setenv("LAB_WEBHOOK_URL", "https://x.test/hush")
    monkeypatch.setenv("LAB_WEBHOOK_SECRET", "hush")
    assert "hush" not in repr(load_settings())
