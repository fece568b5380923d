import pytest

from lab_pipeline.clickhouse.gateway.statements import InsertHead, Undecided, first_word, shape, split_insert

FORMATS = {"native", "json", "csv", "null", "tabseparated"}
INSERTS = [
    (b"INSERT INTO t FORMAT CSV\n1,2\n", "INSERT INTO t", "CSV", b"1,2\n"),
    (b"insert into t (a, b) format JSONEachRow {}", "insert into t (a, b)", "JSONEachRow", b"{}"),
    (b"INSERT INTO t FORMAT Native \r\n\nx", "INSERT INTO t", "Native", b"\nx"),
    (b"/* why */ INSERT -- c\n INTO t FORMAT TSV\n\t1", "/* why */ INSERT -- c\n INTO t", "TSV", b"\t1"),
    (b"INSERT INTO `a FORMAT b` FORMAT TSV\nx", "INSERT INTO `a FORMAT b`", "TSV", b"x"),
    (b"INSERT INTO format FORMAT TSV\nx", "INSERT INTO format", "TSV", b"x"),
    (b"INSERT INTO db.values (format, select) FORMAT TSV\nx", "INSERT INTO db.values (format, select)", "TSV", b"x"),
    (
        b"INSERT INTO t SETTINGS x='a\\' FORMAT b' FORMAT TSV\nx",
        "INSERT INTO t SETTINGS x='a\\' FORMAT b'",
        "TSV",
        b"x",
    ),
    (b"INSERT INTO FUNCTION null('a Int8') FORMAT TSV\nx", "INSERT INTO FUNCTION null('a Int8')", "TSV", b"x"),
]


@pytest.mark.parametrize(("text", "clause", "name", "rows"), INSERTS)
def test_the_rows_of_an_insert_begin_after_its_format(text, clause, name, rows):
    head = split_insert(text, complete=True)
    assert (head.clause.strip(), head.format, text[head.data_at :]) == (clause, name, rows)


@pytest.mark.parametrize("text", [text for text, *_ in INSERTS])
def test_however_the_text_is_cut_it_is_split_the_same(text):
    whole = split_insert(text, complete=True)
    for cut in range(len(text)):
        head = split_insert(text[:cut], complete=False)
        assert head in (Undecided.INCOMPLETE, whole), text[:cut]


@pytest.mark.parametrize(
    "text",
    [
        b"INSERT INTO t VALUES (1)",
        b"INSERT INTO t (a) SELECT 1 FORMAT CSV",
        b"INSERT INTO t WITH 1 AS x SELECT x",
        b"SELECT 1 FORMAT CSV",
        b"WITH 1 AS x INSERT INTO t SELECT x",
        b"(SELECT 1)",
        b"",
    ],
)
def test_what_the_engine_must_see_whole_is_not_split(text):
    assert split_insert(text, complete=True) is Undecided.PLAIN


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (b"SELECT 1 FORMAT JSON", "JSON"),
        (b"SELECT 1 format Native ;", "Native"),
        (b"SELECT 1 FORMAT JSON SETTINGS max_threads=1", "JSON"),
        (b"SELECT 1 FORMAT JSON -- and so on", "JSON"),
        (b"SELECT 'FORMAT CSV', \"FORMAT CSV\" -- FORMAT CSV", None),
        (b"SELECT format FROM t ORDER BY format DESC", None),
        (b"SELECT 1 AS format", None),
        (b"SELECT 1", None),
    ],
)
def test_the_output_format_is_found(text, expected):
    assert shape(text, FORMATS).format == expected


@pytest.mark.parametrize(
    ("text", "statements"),
    [(b"SELECT 1;", 1), (b"SELECT ';'", 1), (b"SELECT 1; -- end\n;", 1), (b"SELECT 1; SELECT 2", 2)],
)
def test_a_second_statement_is_noticed(text, statements):
    assert shape(text, FORMATS).statements == statements


def test_first_word_skips_comments():
    assert first_word(b" -- SELECT\n /* SHOW */ drop table t") == b"DROP"
    assert first_word(b"(SELECT 1)") == b"("
    assert first_word(b" -- nothing") == b""


def test_a_long_quotation_that_never_ends_is_scanned_once():
    text = b"INSERT INTO t SETTINGS x='" + b"a''\\'b" * 40_000
    assert split_insert(text, complete=False) is Undecided.INCOMPLETE
    assert isinstance(split_insert(text + b"' FORMAT CSV\n1", complete=True), InsertHead)
