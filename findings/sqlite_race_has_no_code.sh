#!/usr/bin/env bash
# Two programs that open one new Optuna database at once: the loser's error has no code of its own.
#
# One would guess: metadata.create_all of SQLAlchemy, which looks first and makes what is missing, is
#   safe to call from two programs; and if not, the error code tells "somebody else made it" (go on)
#   from a wrong statement (stop), as 42P07 of PostgreSQL and 1050 of MySQL do.
# What happens: look and make are two steps. When a second program makes Optuna's tables in between,
#   RDBStorage raises OperationalError "table ... already exists" with SQLITE_ERROR (1), the code of a
#   misspelt statement or an absent table too, and no extended code (in a stress test that is not here, 7 of 240 had
#   SQLITE_SCHEMA, 17, which means something else again). Only the English text differs, so a
#   program has to create tables under a lock of its own, or look again after the error.
#   The script makes the race certain by starting the second program from SQLAlchemy's before_create
#   event, which comes after the look.
# Versions: Optuna 5.0.0, SQLAlchemy 2.1.9, CPython 3.11 (sqlite3 with SQLite 3.40.1), Linux x86-64.
# Source: RDBStorage.__init__ in optuna/storages/_rdb/storage.py; https://www.sqlite.org/rescode.html
#   (SQLITE_ERROR is the generic code); https://github.com/optuna/optuna/issues/1092 (on PostgreSQL).
# Output seen:
#   SQLite 3.40.1
#   second program: opened the database
#   first program: OperationalError SQLITE_ERROR (1): table studies already exists
#   misspelt: OperationalError SQLITE_ERROR (1): near "TABEL": syntax error
#   absent table: OperationalError SQLITE_ERROR (1): no such table: missing
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
python3 -m venv "$dir/venv"
"$dir/venv/bin/pip" install -qq --disable-pip-version-check optuna==5.0.0 sqlalchemy==2.1.9
cd "$dir"
"$dir/venv/bin/python" - <<'PY'
import sqlite3
import subprocess
import sys

import optuna
import sqlalchemy as sa

OPEN = "import optuna; optuna.storages.RDBStorage('sqlite:///study.db')"


def start_second_program(*_args, **_facts):
    subprocess.run([sys.executable, "-c", OPEN], check=True)
    print("second program: opened the database")


def code_of(what, error):
    print(f"{what}: {type(error).__name__} {error.sqlite_errorname} ({error.sqlite_errorcode}): {error}")
    return error.sqlite_errorcode


print("SQLite", sqlite3.sqlite_version)
sa.event.listen(sa.MetaData, "before_create", start_second_program)
codes = []
try:
    optuna.storages.RDBStorage("sqlite:///study.db")
except sa.exc.OperationalError as error:
    codes.append(code_of("first program", error.orig))

connection = sqlite3.connect("study.db")
for what, statement in (("misspelt", "CREATE TABEL t (a)"), ("absent table", "SELECT * FROM missing")):
    try:
        connection.execute(statement)
    except sqlite3.Error as error:
        codes.append(code_of(what, error))
connection.close()
if codes != [sqlite3.SQLITE_ERROR] * 3:
    sys.exit("No longer so: a lost race to create tables raises no error, or one with a code of its own.")
PY
