from lab_pipeline_tests.fetch.servers import DAY, MINUTE, at, market

CALLED = at("2025-03-10T06:00")
MINT = "TOKEN"


def hours(usd):
    """A pool's candles of the day before the call, an hour each, and of the hour after it, by the minute."""
    day = {CALLED - number * 60 * MINUTE: (1.0, 1.0, 1.0, 1.0, usd) for number in range(1, 25)}
    return day | market(CALLED, 60)


def choices(world):
    pools = world.ledger.pools("geckoterminal", "solana", MINT)
    return {pool.pool: (pool.chosen, pool.reason) for pool in pools or []}


def test_what_traded_most_before_the_call_is_chosen_whatever_holds_most_now(gecko):
    gecko.source.pools[MINT] = [
        ("large", "2025-03-01T00:00:00Z", "10.0"),
        ("small", "2025-03-01T00:00:00Z", "9000000.0"),
        ("later", "2025-03-20T00:00:00Z", "5000000.0"),
    ]
    gecko.source.candles |= {"large": hours(500.0), "small": hours(3.0), "later": hours(9999.0)}
    gecko.fetch(CALLED, CALLED + 60 * MINUTE)
    assert choices(gecko) == {
        "large": (True, "traded most in the day before the call"),
        "small": (False, "traded less then, or came later"),
        "later": (False, "traded less then, or came later"),
    }
    volumes = {pool.pool: pool.volume_usd for pool in gecko.ledger.pools("geckoterminal", "solana", MINT)}
    assert volumes == {"large": 24 * 500.0, "small": 24 * 3.0, "later": None}
    assert len(gecko.rows()) == 60


def test_the_only_pool_of_that_time_is_chosen_without_asking_more(gecko):
    gecko.source.pools[MINT] = [("there", "2025-03-01T00:00:00Z", "1"), ("later", "2025-03-11T00:00:00Z", "9")]
    gecko.source.candles["there"] = hours(1.0)
    gecko.fetch(CALLED, CALLED + 60 * MINUTE)
    assert choices(gecko)["there"] == (True, "the only pool at the call")
    assert {path for path, _ in gecko.source.asked} == {"/networks/solana/pools/there/ohlcv/minute"}


def test_a_call_before_any_pool_takes_the_first(gecko):
    gecko.source.pools[MINT] = [("second", "2025-03-12T00:00:00Z", "9"), ("first", "2025-03-11T00:00:00Z", "1")]
    gecko.source.candles["first"] = hours(1.0)
    gecko.fetch(CALLED, CALLED + 60 * MINUTE)
    assert choices(gecko)["first"] == (True, "no pool was there at the call: the first after it")


def test_a_choice_stays(gecko):
    gecko.source.pools[MINT] = [("there", "2025-03-01T00:00:00Z", "1")]
    gecko.source.candles["there"] = hours(1.0)
    gecko.fetch(CALLED, CALLED + 60 * MINUTE)
    gecko.source.pools[MINT] = [("other", "2025-03-01T00:00:00Z", "1")]
    assert gecko.plan(CALLED, CALLED + DAY).estimate == len(gecko.plan(CALLED, CALLED + DAY).requests)
    gecko.fetch(CALLED, CALLED + DAY)
    assert list(choices(gecko)) == ["there"]


def test_volumes_in_dollars_become_tokens(gecko):
    gecko.source.candles[MINT] = {CALLED: (2.0, 4.0, 1.0, 1.0, 10.0)}
    gecko.fetch(CALLED, CALLED + 60 * MINUTE)
    assert gecko.rows() == {CALLED: (2.0, 4.0, 1.0, 1.0, 10.0)}
