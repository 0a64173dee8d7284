"""Write ``nuwa_search/lab/keywords.py``: what each verb of the library takes by name, from the fields of its request.

python docs/make_keywords.py
"""

import dataclasses
import types
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from nuwa_search.core.img_size import ImgSize
from nuwa_search.deploy.evaluate import EvaluateRequest
from nuwa_search.deploy.train.base_config import BaseDesign
from nuwa_search.deploy.train.base_from_data import BaseTrainRequest
from nuwa_search.deploy.train.finetune_request import FinetuneRequest
from nuwa_search.lab.export_request import ExportWishes
from nuwa_search.lab.profile_request import ProfileRequest
from nuwa_search.lab.query_request import QueryRequest
from nuwa_search.search.collaborate.request import DecomposeRequest
from nuwa_search.search.derive.single import DeriveRequest
from nuwa_search.search.request import OPTIONS, SearchRequest

PAGE = Path(__file__).resolve().parents[1] / "nuwa_search" / "lab" / "keywords.py"
HEAD = '''"""Keywords of the library's verbs, for type checkers and editors.

Made from the fields of each request by `python docs/make_keywords.py` (a test compares): a field is said once, there.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, TypedDict
'''
REQUESTS: Mapping[str, tuple[type | tuple[type, ...], str]] = {
    "SearchKeywords": (SearchRequest, "Of ``Lab.search``: the options of docs/options.md, by their names in the API."),
    "DecomposeKeywords": (DecomposeRequest, "Of ``Lab.decompose``."),
    "ProfileKeywords": (ProfileRequest, "Of ``Lab.profile``."),
    "DeriveKeywords": (DeriveRequest, "Of ``Lab.derive``."),
    "EvaluateKeywords": (EvaluateRequest, "Of ``Lab.evaluate``."),
    "FinetuneKeywords": (FinetuneRequest, "Of ``Lab.finetune``."),
    "ExportKeywords": (ExportWishes, "Of ``Lab.export``."),
    "QueryKeywords": (QueryRequest, "Of ``Lab.query``."),
    "TrainBaseKeywords": ((BaseTrainRequest, BaseDesign), "Of ``train_base``."),
}
LEFT_OUT = {"EvaluateRequest": ("model",), "BaseTrainRequest": ("data", "design")}
"""What the verb takes before its keywords."""
PLACES = ("base", "data", "output", "import_", "timing_cache")
"""Names and paths: people have the latter as ``Path``."""


def make_keywords() -> str:
    """Write the module."""
    return HEAD + "".join(_class(name, request, about) for name, (request, about) in REQUESTS.items())


def _class(name: str, request: type | tuple[type, ...], about: str) -> str:
    lines = [f'\n\nclass {name}(TypedDict, total=False):\n    """{about}"""\n\n']
    for part in request if isinstance(request, tuple) else (request,):
        hints = get_type_hints(part)
        for field in dataclasses.fields(part):
            if field.name in LEFT_OUT.get(part.__name__, ()):
                continue
            shown = OPTIONS[field.name].client_name if part is SearchRequest else field.name
            said = _type(hints[field.name])
            lines.append(f"    {shown}: {said.replace('str', 'str | Path', 1) if shown in PLACES else said}\n")
    return "".join(lines)


def _type(hint: Any) -> str:
    if hint is type(None):
        return "None"
    if get_origin(hint) in (Union, types.UnionType):
        return " | ".join(_type(part) for part in get_args(hint))
    if get_origin(hint) is Literal:
        words = ", ".join(f'"{word}"' for word in get_args(hint))
        return f"Literal[{words}]"
    if get_origin(hint) is Mapping:
        return "Mapping[str, Any]"
    if hint == ImgSize:
        return "int | tuple[int, int]"
    if get_origin(hint) is tuple and get_args(hint)[0] == ImgSize:
        return "Sequence[int | tuple[int, int]]"
    if get_origin(hint) is tuple and get_args(hint) == (int, int):
        return "tuple[int, int]"
    if get_origin(hint) is not None:  # tuples and sequences of text or whole numbers
        return "Sequence[int]" if int in get_args(hint) else "Sequence[str]"
    return str(hint.__name__)


if __name__ == "__main__":
    PAGE.write_text(make_keywords(), encoding="utf-8")
