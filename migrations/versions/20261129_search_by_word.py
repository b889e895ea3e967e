"""Index the words of prompts and completions, so that searches need not read every text.

PostgreSQL gets GIN indexes on functions that fold a text as `app/domain/search_words.py` does,
SQLite contentless FTS5 tables that triggers keep. A million judgments, with 34,000 prompts and
170,000 completions, take under a minute.

Revision: 6f2d91c4a7b8
Follows: 9b41f7c2d06e
"""

from alembic import op

revision = "6f2d91c4a7b8"
down_revision = "9b41f7c2d06e"
branch_labels = None
depends_on = None

INDEXED = {
    "prompt": ("messages", "attune_words_of_messages"),
    "completion": ("text", "attune_words"),
}
LONGEST = 100_000

# The parser of PostgreSQL would take words that these join for paths, tags, numbers or addresses.
# `replace` is much faster than one `translate` of all of them.
JOINING = "<&@./-_~+"
SPACED = "part"
for _char in JOINING:
    SPACED = f"replace({SPACED}, '{_char}', ' ')"
UNSPACED = (
    "[\\u0E00-\\u0EFF\\u1000-\\u109F\\u1780-\\u17FF\\u3040-\\u30FF\\u3400-\\u4DBF\\u4E00-\\u9FFF"
    "\\uF900-\\uFAFF\\U00020000-\\U00031FFF]"
)
ACCENTS = "[\\u0300-\\u036F]+"

WORDS = f"""
CREATE FUNCTION attune_words(body text) RETURNS tsvector
LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE COST 1000 AS $function$
DECLARE
  part text := left(coalesce(body, ''), {LONGEST});
BEGIN
  IF octet_length(part) <> char_length(part) THEN
    part := regexp_replace(normalize(part, NFKD), '{ACCENTS}', '', 'g');
    part := left(normalize(part, NFKC), {LONGEST});
    part := regexp_replace(part, '({UNSPACED})', ' \\1 ', 'g');
  END IF;
  RETURN to_tsvector('pg_catalog.simple'::regconfig, {SPACED});
END
$function$
"""
WORDS_OF_MESSAGES = """
CREATE FUNCTION attune_words_of_messages(messages jsonb) RETURNS tsvector
LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE COST 1000 SET search_path FROM CURRENT AS $function$
BEGIN
  RETURN attune_words((
    SELECT string_agg(message ->> 'content', chr(10) ORDER BY place)
    FROM jsonb_array_elements(messages) WITH ORDINALITY AS turn (message, place)
  ));
END
$function$
"""


def upgrade() -> None:
    if op.get_bind().dialect.name == "sqlite":
        for table, (column, function) in INDEXED.items():
            _index_in_sqlite(table, column, function)
        return
    op.execute(WORDS)
    op.execute(WORDS_OF_MESSAGES)
    for table, (column, function) in INDEXED.items():
        op.execute(f"CREATE INDEX ix_{table}_words ON {table} USING gin ({function}({column}))")
        op.execute(f"ANALYZE {table}")


def downgrade() -> None:
    if op.get_bind().dialect.name == "sqlite":
        for table in INDEXED:
            for event in ("insert", "update", "delete"):
                op.execute(f"DROP TRIGGER {table}_words_{event}")
            op.execute(f"DROP TABLE {table}_words")
        return
    for table in INDEXED:
        op.execute(f"DROP INDEX ix_{table}_words")
    op.execute("DROP FUNCTION attune_words_of_messages(jsonb)")
    op.execute("DROP FUNCTION attune_words(text)")


def _index_in_sqlite(table: str, column: str, function: str) -> None:
    name = f"{table}_words"
    # The texts come folded; the tokenizer splits them, and ignores the case of plain ASCII.
    op.execute(
        f"CREATE VIRTUAL TABLE {name} USING fts5(words, content='', columnsize=0, "
        "tokenize=\"unicode61 remove_diacritics 0 categories 'L* M* N* Co'\")"
    )
    op.execute(f"INSERT INTO {name} (rowid, words) SELECT id, {function}({column}) FROM {table}")
    op.execute(f"INSERT INTO {name} ({name}) VALUES ('optimize')")
    add = f"INSERT INTO {name} (rowid, words) VALUES (new.id, {function}(new.{column}))"
    drop = (
        f"INSERT INTO {name} ({name}, rowid, words) "
        f"VALUES ('delete', old.id, {function}(old.{column}))"
    )
    for event, moment, actions in (
        ("insert", "INSERT", (add,)),
        ("update", f"UPDATE OF {column}", (drop, add)),
        ("delete", "DELETE", (drop,)),
    ):
        body = " ".join(f"{action};" for action in actions)
        op.execute(f"CREATE TRIGGER {name}_{event} AFTER {moment} ON {table} BEGIN {body} END")
