import json


def test_tags_and_activity_are_set_and_shown(lab):
    assert lab("strategies", "describe", "ladder").out == "strategy ladder is active, tags: example\n"
    ended = lab("strategies", "describe", "ladder", "--tags", "watched, fast", "--inactive")
    assert ended.out == "strategy ladder is not active, tags: watched, fast\n"
    assert lab("strategies", "describe", "ladder", "--active").out == "strategy ladder is active, tags: watched, fast\n"
    shown = {stored["strategy"]["id"]: stored for stored in lab("strategies", "list", "--json").json["strategies"]}
    assert (shown["ladder"]["isActive"], shown["ladder"]["strategy"]["tags"]) == (True, ["watched", "fast"])
    assert shown["dip-scalper"]["strategy"]["tags"] == ["example"]
    assert "watched, fast" in lab("strategies", "list").out
    assert lab("strategies", "describe", "ladder", "--tags", "").out == "strategy ladder is active, tags: none\n"


def test_a_thousand_wrong_fields_are_a_short_error(lab, tmp_path):
    file = tmp_path / "wrong.json"
    file.write_text(json.dumps({"id": "x", "exit": {"stopLoss": 0.3}, **{f"wrong{n}": n for n in range(1000)}}))
    ended = lab("strategies", "validate", file)
    assert ended.status == 2
    assert ended.err.strip().endswith("... (1,000 in total)")
    assert ended.err.count("unknown field") == 10


def test_an_unknown_strategy_is_named(lab):
    ended = lab("strategies", "describe", "laddder", "--inactive")
    assert ended.status == 2
    assert "unknown strategy 'laddder': this lab has breakout-atr, caller-plan, dip-scalper, ladder" in ended.err
