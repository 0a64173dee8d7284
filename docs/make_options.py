"""Write ``docs/options.md``: one line for every option of a search, from the fields of ``SearchRequest``.

python docs/make_options.py
"""

from collections.abc import Mapping
from pathlib import Path

from nuwa_search.search.option import Option
from nuwa_search.search.request import OPTIONS

PAGE = Path(__file__).resolve().parent / "options.md"
HEAD = """# Options of a search

Made from the fields of `nuwa_search.search.request.SearchRequest` by `python docs/make_options.py` (a test compares).
The flags of `nuwa search`, the bodies of `POST /api/v1/searches` and the form of the page are made from the same. A
flag `--foo-bar` is also the key `foo-bar` of a settings file and the variable `NUWA_FOO_BAR`, `-o` excepted.

*On resume* says what `nuwa-search --study NAME --resume` and `POST /api/v1/searches/NAME/resume` do with the option:
one that *may change* is obeyed; one that is *fixed* decides what the study found, and is refused by name unless it is
given as it was. Settings of files and of the environment are for searches that begin: a resumed one does not follow
them, and says so where they differ.

| flag | in the API | what | wanted | default | on resume |
|---|---|---|---|---|---|
"""
WANTED = {
    "number": "a number above 0",
    "budget": "a number above 0, or `N@DEVICE`",
    "count": "a whole number from 1",
    "side": "pixels, N or HxW",
    "sides": "pixels, each N or HxW, with commas",
    "whole": "a whole number from 0",
    "switch": "flag",
    "text": "text",
    "device": "a device",
    "source": "a name or a path",
    "folder": "a path",
    "classes": "names with commas, or @FILE",
    "globs": "globs, repeated or with commas",
    "budgets": "`N@DEVICE`, repeated or with commas",
}


def make_options(options: Mapping[str, Option]) -> str:
    """Describe all options in Markdown."""
    return HEAD + "".join(_row(option) for option in options.values())


def _row(option: Option) -> str:
    flag = f"`{option.short}`, `--{option.flag}`" if option.short else f"`--{option.flag}`"
    name = f"`{option.client_name}`" if option.is_for_clients else ""
    wanted = ", ".join(f"`{word}`" for word in option.choices) if option.kind == "choice" else WANTED[option.kind]
    if option.kind == "switch":
        default = f"{name} is {str(option.default).lower()}" if name else ""
    elif option.is_needed:
        default = "needed"
    else:
        default = option.empty or f"`{option.default}`"
    resume = "may change" if option.is_resumable else "fixed"
    return f"| {flag} | {name} | {option.help} | {wanted} | {default} | {resume} |\n"


if __name__ == "__main__":
    PAGE.write_text(make_options(OPTIONS))
