"""Readers of settings, lists and requests."""

import json
import math
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

from pydantic import BaseModel, ValidationError

from nuwa_search.core.class_list import parse_classes
from nuwa_search.core.documents import read_object
from nuwa_search.core.settings import file_settings
from nuwa_search.deploy.train.finetune_request import FinetuneRequest, resumed_request
from nuwa_search.search.request import request_from_dict
from nuwa_search.service.api.routes.about import Token
from nuwa_search.service.api.routes.profiles import NewProfile
from nuwa_search.service.api.search_request import NewSearch, SearchChanges
from tests.support.fuzzing.mutations import mutated_json, mutated_text
from tests.support.fuzzing.reader import Reader, RefusedError

SEARCH = {"budget_ms": 12.5, "device": "jetson-nano", "seed": 3, "trials": 20, "classes": ["a", "b"]}
BODIES: dict[str, tuple[type[BaseModel], object]] = {
    "search": (NewSearch, SEARCH),
    "changes of a search": (SearchChanges, {"trials": 30, "timeout_s": 60.0}),
    "profile": (NewProfile, {"device": "jetson-nano", "base": "default", "minutes": 3.5, "seed": 1}),
    "session": (Token, {"token": "x" * 20}),
}


def request_readers(folder: Path) -> list[Reader]:
    """Read settings, class lists, requests of jobs, and bodies of the API."""
    toml, classes, finetune, search = (
        folder / name for name in ("nuwa.toml", "classes.txt", "finetune.json", "search.json")
    )
    toml.write_text('trials = 100\nbudget-ms = 12.5\nclasses = "a,b"\nno-progress = true\n')
    classes.write_text("bus\ntrain  # a comment\nvan\n")
    finetune.write_text(json.dumps(asdict(FinetuneRequest(base="b", epochs=1.5, steps=10))))
    search.write_text(json.dumps(SEARCH))
    known = ("trials", "budget-ms", "classes", "no-progress")
    none = FinetuneRequest()
    return [
        Reader("settings, TOML", toml, mutated_text, lambda: file_settings(known, config_path=toml)),
        Reader("class list", classes, mutated_text, lambda: parse_classes(f"@{classes}")),
        Reader(
            "fine-tuning request",
            finetune,
            mutated_json,
            lambda: resumed_request(finetune, none, named=(), folder=folder),
        ),
        Reader("search request", search, mutated_json, lambda: request_from_dict(read_object(search, what="request"))),
        *(_body_reader(folder, name, *body) for name, body in BODIES.items()),
    ]


def _body_reader(folder: Path, name: str, model: type[BaseModel], valid: object) -> Reader:
    path = folder / f"{name.replace(' ', '-')}.body.json"
    path.write_text(json.dumps(valid))
    named = (ValidationError, RefusedError)  # the framework answers 422 to the first
    return Reader(f"API body: {name}", path, mutated_json, _validating(path, model), named=named, share=0.5)


def _validating(path: Path, model: type[BaseModel]) -> Callable[[], None]:
    def validate() -> None:
        try:
            values = json.loads(path.read_bytes())  # as the web framework does, which takes NaN and 1e999
        except (RecursionError, ValueError) as error:
            raise RefusedError("the framework answers 400") from error
        found = model.model_validate(values).model_dump()
        numbers = [value for value in found.values() if isinstance(value, float)]
        assert all(map(math.isfinite, numbers)), "a number that is none was taken"

    return validate
