"""Every flag once: same name, same meaning, same environment variable in all commands."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

import click

from nuwa_search.core.class_list import parse_classes
from nuwa_search.core.settings import env_name
from nuwa_search.search.trials import SAMPLERS
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


class ClassList(click.ParamType[tuple[str, ...]]):
    """Classes by name or index, read while the line is parsed: a missing ``@FILE`` is told before anything loads."""

    name = "list"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, ...]:  # noqa: ARG002
        return value if isinstance(value, tuple) else parse_classes(str(value))


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


_COUNT = click.IntRange(min=1)
_ALL = (
    Flag("json", "Answer as one JSON document.", is_flag=True),
    Flag("csv", "Answer as CSV.", is_flag=True),
    Flag("quiet", "No progress, hints or warnings.", is_flag=True, short="-q"),
    Flag("verbose", "Say more on stderr.", is_flag=True, short="-v"),
    Flag("no-progress", "No progress on stderr.", is_flag=True),
    Flag("db", "Database: a SQLite path or a URL.", metavar="URL"),
    Flag("config", "Settings file in place of ./nuwa.toml.", metavar="FILE", is_setting=False),
    Flag("seed", "Seed of everything random.", type=click.IntRange(min=0), default=0),
    Flag("dry-run", "Say what would be done, do nothing.", is_flag=True, is_setting=False),
    Flag("yes", "Do not ask before something is deleted.", is_flag=True, short="-y"),
    Flag("output", "Where to write the answer.", short="-o", metavar="PATH", is_setting=False),
    Flag("debug", "Show tracebacks.", is_flag=True),
    Flag("cache-dir", "Folder for caches that can be deleted at any time.", metavar="DIR"),
    Flag("device", "Device, by name; `nuwa device ls` lists them.", default="jetson-nano"),
    Flag("base", "Base ViT: folder, timm name, hf-hub:NAME, or `default` (in the package).", default="default"),
    Flag("data", "Image folder, Parquet file or folder, or a data set on the Hub.", metavar="SOURCE"),
    Flag("label-column", "Label column of Parquet files.  [label, then fine_label]", metavar="NAME"),
    Flag("classes", "Classes by name or index: a,b,c or @FILE.  [all]", type=ClassList(), metavar="LIST"),
    Flag("budget-ms", "Latency the compiled model must meet.", type=PositiveNumber(), metavar="MS"),
    Flag(
        "budget-statistic",
        "Which latency the budget compares.",
        type=click.Choice(["median", "p95", "p99"]),
        default="median",
    ),
    Flag("max-memory-mb", "Peak memory the model may take.", type=PositiveNumber(), metavar="MB"),
    Flag("trials", "Subnets to score.", type=_COUNT, default=60),
    Flag("workers", "Processes that derive and score; with 1 a seed makes the same trials.", type=_COUNT, default=1),
    Flag("timeout-s", "Time for search, competition and fine-tuning together.", type=PositiveNumber(), metavar="S"),
    Flag("sampler", "Optuna's sampler.", type=click.Choice(SAMPLERS), default="auto"),
    Flag("finetune-epochs", "Fine-tune for this many passes.", type=PositiveNumber(), metavar="N"),
    Flag("finetune-steps", "Fine-tune for this many steps.", type=_COUNT, metavar="N"),
    Flag("study", "Name of the study.", metavar="NAME", is_setting=False),
    Flag("resume", "Go on where the named study stopped.", is_flag=True, is_setting=False),
    Flag("predictor", "Pin this latency predictor.", metavar="ID"),
    Flag("judge", "Subnets that compete in short fine-tunings; 1 takes the best by KL.", type=_COUNT, default=1),
    Flag(
        "small-model",
        "Also pretrain a small ViT of equal latency for so many steps; ships where it is better.",
        type=_COUNT,
        metavar="STEPS",
    ),
    Flag("pareto", "The whole front: nothing that another beats in both latency and accuracy.", is_flag=True),
    Flag("explain", "Say why this arch.", is_flag=True),
    Flag("no-finetune", "Ship the subnet as derived.", is_flag=True),
    Flag("no-deploy", "Stop before export and build.", is_flag=True),
    Flag("split", "Split to evaluate on.  [test]", metavar="NAME"),
    Flag("head", "`all` keeps the whole head with --classes.", type=click.Choice(["restricted", "all"])),
    Flag("arch", "Arch as a JSON file or an arch id.", metavar="ARCH"),
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
COMMON = ("json", "csv", "quiet", "verbose", "no-progress", "db", "config", "seed", "dry-run", "yes", "output", "debug")


def known_settings() -> list[str]:
    """List the names that a settings file may hold."""
    return [flag.name for flag in _ALL if flag.is_setting]


def with_flags(*names: str, defaults: dict[str, Any] | None = None, writes: bool = False) -> Callable[[F], F]:
    """Add flags by name, and the common ones, to a click command.

    Args:
        names: Flags beside the common ones.
        defaults: Defaults of this command that differ; they do not change what a flag means.
        writes: Whether the command changes files or the database and cannot say beforehand how: it then
            refuses ``--dry-run`` instead of ignoring it.
    """

    def decorate(function: F) -> F:
        for name in reversed((*names, *COMMON)):
            if writes and name == "dry-run":
                continue
            flag = FLAGS[name]
            spellings = [f"--{flag.name}", *([flag.short] if flag.short else [])]
            default = (defaults or {}).get(name, False if flag.is_flag else flag.default)
            shown = not flag.is_flag and default is not None
            kind = {} if flag.is_flag else {"type": flag.type, "metavar": flag.metavar}
            click.option(
                *spellings,
                help=flag.help,
                default=default,
                is_flag=flag.is_flag,
                envvar=env_name(flag.name) if flag.is_setting else None,
                show_default=shown,
                **kind,
            )(function)
        return function

    return decorate
