"""Every flag once: same name, same meaning, same environment variable in all commands."""

import math
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Any, TypeVar

import click

from nuwa_search.core.class_list import parse_classes
from nuwa_search.core.errors import NuwaError
from nuwa_search.core.img_size import ImgSize, img_size_from_value, is_pair
from nuwa_search.core.settings import env_name
from nuwa_search.search.collaborate.grouping_names import GROUPINGS
from nuwa_search.search.option import Option
from nuwa_search.search.request import OPTIONS
from nuwa_search.store.sort_orders import SORTS

F = TypeVar("F", bound=Callable[..., Any])


class PositiveNumber(click.ParamType[float]):
    """A finite number above zero."""

    name = "number"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        try:
            number = float(value)
        except (TypeError, ValueError):
            self.fail(f"wanted a number, found {value!r}", param, ctx)
        if not math.isfinite(number) or number <= 0:
            self.fail(f"wanted a finite number above 0, found {value}", param, ctx)
        return number


class BudgetText(click.ParamType[str]):
    """Milliseconds, or milliseconds with a device as ``N@DEVICE``; several with commas between."""

    name = "number"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        number = PositiveNumber()
        for text in str(value).split(","):
            milliseconds, _, _ = text.partition("@")
            number.convert(milliseconds, param, ctx)
        return str(value)


class ClassList(click.ParamType[tuple[str, ...]]):
    """Classes by name or index, read while the line is parsed: a missing ``@FILE`` is told before anything loads."""

    name = "list"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, ...]:  # noqa: ARG002
        return value if isinstance(value, tuple) else parse_classes(str(value))


class ImageSize(click.ParamType[ImgSize]):
    """Size of an image in pixels, written ``N`` or ``HxW``: height, then width."""

    name = "size"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> ImgSize:
        try:
            return img_size_from_value(value, "the size")
        except NuwaError as error:
            self.fail(f"{error.message}: {error.hint}" if error.hint else error.message, param, ctx)


class ImageSizes(click.ParamType[tuple[ImgSize, ...]]):
    """Sizes of images in pixels with commas between."""

    name = "sizes"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[ImgSize, ...]:
        parts = value if is_pair(value) else str(value).split(",")
        return tuple(ImageSize().convert(part, param, ctx) for part in parts)


@dataclass(frozen=True)
class Flag:
    """One option of the command line; also a key of settings files and a NUWA_* variable."""

    name: str
    help: str
    type: Any = str
    default: Any = None
    is_flag: bool = False
    short: str | None = None
    metavar: str | None = None
    is_setting: bool = True
    is_repeated: bool = False


_COUNT = click.IntRange(min=1)
_WHOLE = click.IntRange(min=0)


def flag_from_option(option: Option) -> Flag:
    """Make the flag of a search's option."""
    if option.kind == "switch":
        return Flag(option.flag, option.help_line, is_flag=True, short=option.short)
    types: dict[str, Any] = {
        "number": PositiveNumber(),
        "budget": BudgetText(),
        "count": _COUNT,
        "side": ImageSize(),
        "sides": ImageSizes(),
        "whole": _WHOLE,
        "choice": click.Choice(option.choices),
        "classes": ClassList(),
    }
    return Flag(
        option.flag,
        option.help_line,
        type=types.get(option.kind, str),
        default=option.default if not option.is_repeated or option.default else (),
        short=option.short,
        metavar=option.metavar,
        is_repeated=option.is_repeated,
    )


_ALL = (
    Flag("json", "Answer as one JSON document.", is_flag=True),
    Flag("csv", "Answer as CSV.", is_flag=True),
    Flag("quiet", "No progress, hints or warnings.", is_flag=True, short="-q"),
    Flag("verbose", "Say more on stderr.", is_flag=True, short="-v"),
    Flag("no-progress", "No progress on stderr.", is_flag=True),
    Flag("db", "Database: a SQLite path or a URL.", metavar="URL"),
    Flag("config", "Settings file in place of ./nuwa.toml.", metavar="FILE", is_setting=False),
    Flag("dry-run", "Say what would be done, do nothing.", is_flag=True, is_setting=False),
    Flag("yes", "Do not ask before something is deleted.", is_flag=True, short="-y"),
    Flag("output", "Where to write the answer.", short="-o", metavar="PATH", is_setting=False),
    Flag("debug", "Show tracebacks.", is_flag=True),
    Flag("cache-dir", "Folder for caches that can be deleted at any time.", metavar="DIR"),
    *(flag_from_option(option) for option in OPTIONS.values() if option.has_own_flag and option.flag != "output"),
    Flag("study", "Name of the study.", metavar="NAME", is_setting=False),
    Flag("resume", "Go on where the named study stopped.", is_flag=True, is_setting=False),
    Flag("log-to", "Tracker: tensorboard, mlflow, wandb or trackio, or NAME:WHERE.", metavar="TRACKER"),
    Flag("devices", "Devices that answer together, one that is there twice named twice.", metavar="A,B"),
    Flag("groups", "How classes are grouped.", type=click.Choice(GROUPINGS), default=GROUPINGS[0]),
    Flag("sub-models", "Sub-models in all.  [one per device]", type=_COUNT, metavar="N"),
    Flag("network", "Rate and delay of one way, or a probe's file.  [1gbit,0.25ms]", metavar="100mbit,5ms|FILE"),
    Flag("cameras", "Every board sees the image itself: none is sent.", is_flag=True),
    Flag("first-coordinates", "The first board has the camera, and coordinates the others.", is_flag=True),
    Flag("mean-ms", "Mean latency that routed images are to have.", type=PositiveNumber(), metavar="MS"),
    Flag("needed", "Answers that suffice where any k of n are fused.  [all but one]", type=_COUNT, metavar="K"),
    Flag(
        "first-share",
        "Share of its budget for the sub-model that routed images meet first.",
        type=click.FloatRange(0.05, 1),
        default=1.0,
        metavar="SHARE",
    ),
    Flag("split", "Split to evaluate on.  [test]", metavar="NAME"),
    Flag("images", "Images that --device is asked for.  [32]", type=_COUNT, metavar="N", is_setting=False),
    Flag("all", "Every bundle for --device, against what runs there now.", is_flag=True, is_setting=False),
    Flag("head", "`all` keeps the whole head with --classes.", type=click.Choice(["restricted", "all"])),
    Flag("arch", "Arch as a JSON file or an arch id.", metavar="ARCH"),
    Flag("subnet", "Cut this stored subnet again, as it was scored.", metavar="ID", is_setting=False),
    Flag("minutes", "Measure for this long at most.", type=PositiveNumber(), metavar="MIN"),
    Flag("from", "Transfer this device's predictor with at most ten measurements.", metavar="DEVICE", is_setting=False),
    Flag("kit", "Write ONNX files and a script for a board without SSH.", metavar="DIR", is_setting=False),
    Flag("import", "Read back what a kit's script measured.", metavar="DIR", is_setting=False),
    Flag("max-ms", "Only subnets at most this slow.", type=PositiveNumber(), metavar="MS"),
    Flag("min-top1", "Only subnets at least this accurate (fraction).", type=click.FloatRange(0, 1), metavar="TOP1"),
    Flag("measured-only", "Only figures measured on the device.", is_flag=True),
    Flag(
        "explain-budget",
        "What the budget --max-ms buys, and the next steps up and down.",
        is_flag=True,
        is_setting=False,
    ),
    Flag("compare", "Put the fronts of these devices side by side.", metavar="A,B", is_setting=False),
    Flag("model", "Only this arch id, subnet id or hash of an ONNX file.", metavar="ID", is_setting=False),
    Flag("sort", "Order of the rows.  [top1]", type=click.Choice(SORTS)),
    Flag("limit", "Rows at most.", type=_COUNT, metavar="N"),
    Flag("sql", "A read-only SELECT over the documented views.", metavar="SELECT", is_setting=False),
    Flag("sustained", "Run for this long (10m, 90s) and show throttling.", metavar="TIME", is_setting=False),
    Flag("opset", "ONNX opset.  [what the device takes]", type=click.IntRange(11, 25)),
)
FLAGS = {flag.name: flag for flag in _ALL}
SEARCH_FLAGS = tuple(
    option.flag for option in OPTIONS.values() if option.has_own_flag and option.flag not in ("seed", "output")
)
"""Of the options of a search; the two left out are common to all commands."""
COMMON = ("json", "csv", "quiet", "verbose", "no-progress", "db", "config", "seed", "dry-run", "yes", "output", "debug")


def known_settings() -> list[str]:
    """List the names that a settings file may hold."""
    return [flag.name for flag in _ALL if flag.is_setting]


def with_flags(
    *names: str, defaults: dict[str, Any] | None = None, writes: bool = False, without: Collection[str] = ()
) -> Callable[[F], F]:
    """Add flags by name, and the common ones, to a click command.

    Args:
        names: Flags beside the common ones.
        defaults: Defaults of this command that differ; they do not change what a flag means.
        writes: Whether the command changes files or the database and cannot say beforehand how: it then
            refuses ``--dry-run`` instead of ignoring it.
        without: Common flags that say nothing here, and are refused.
    """

    def decorate(function: F) -> F:
        for name in reversed((*names, *COMMON)):
            if (writes and name == "dry-run") or name in without:
                continue
            flag = FLAGS[name]
            spellings = [f"--{flag.name}", *([flag.short] if flag.short else [])]
            default = (defaults or {}).get(name, False if flag.is_flag else flag.default)
            shown = not flag.is_flag and default not in (None, ())
            kind = {} if flag.is_flag else {"type": flag.type, "metavar": flag.metavar}
            click.option(
                *spellings,
                help=flag.help,
                default=default,
                is_flag=flag.is_flag,
                multiple=flag.is_repeated,
                envvar=env_name(flag.name) if flag.is_setting else None,
                show_default=shown,
                **kind,
            )(function)
        return function

    return decorate
