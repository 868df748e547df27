"""TEMPORARY"""

import duckdb


def keys(snapshot, rules, batch=65536):
    rows = duckdb.sql(f"select distinct customer from read_parquet('{snapshot}') order by customer").fetchall()
    yield [r[0] for r in rows], [r[0].encode() for r in rows]
