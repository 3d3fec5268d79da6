"""ear-sat evaluate: measures codecs against references, with a report to look at and to listen to.

Files are paired by their path without extension. Results go to results.json, results.csv, results.md and report.html.
With --weights, the files of --data are reconstructed first, and with --codec those of --reference or --data by codecs
of other libraries; --test-tones measures the model as an audio analyser measures a device. --blind also writes a page
for a blind listening test; ``ear-sat listening-results`` evaluates what its listeners answer.

Pairs are kept as they are measured, so that a run that was stopped, in whatever way, goes on with the same command.
Ranks of torchrun or SLURM, and machines with --merge, share the files.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from ..checks import path_argument, whole
from ..codecs import CodecFacts
from ..engines import check_engine
from ..errors import UserError
from ..evaluate import Evaluation, Report, evaluate, merge
from ..evaluate.rates import print_rates
from ..evaluate.references import Reference
from ..evaluate.report import DEFAULT_CLIPS
from ..evaluate.run import check_packages
from ..evaluate.tables import print_summary
from ..listening import METHODS, write_test
from ..listening.methods import check_systems
from ..listening.page import DEFAULT_TRIALS
from ..metrics import METRICS
from ..ranks import find_place
from .clip_count import clip_count
from .evaluation_extras import add_extras, check_merge, optional_metrics, print_extras, print_share, references_of
from .evaluation_models import (
    add_codecs,
    add_own_model,
    measure_by_tones,
    models_of,
    reconstruct_with,
    system_name,
)
from .named_folders import named_folders
from .sharing import add_sharing

MAX_LINES = 20
"""Failures and unmatched files that are printed one by one; the files of results have them all."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the command."""
    parser.add_argument("--reference", type=path_argument, metavar="DIR", help="folder of the originals, or one file")
    parser.add_argument(
        "--estimate",
        action="append",
        default=[],
        metavar="NAME=DIR",
        help="a codec's name and the folder of its output, or one file; once per codec",
    )
    add_codecs(parser)
    parser.add_argument("--out", type=path_argument, required=True, metavar="DIR", help="folder for results and report")
    parser.add_argument("--align", action="store_true", help="take out constant offsets that are detected")
    parser.add_argument(
        "--audio",
        metavar="N|all|none",
        help=f"clips in the report and the blind test (default: {DEFAULT_CLIPS} in the report, "
        f"{METHODS['mushra'].clips} for mushra, {METHODS['abx'].clips} for abx); none: {DEFAULT_CLIPS} without audio",
    )
    parser.add_argument(
        "--rank-by",
        default="stft_distance",
        choices=METRICS,
        metavar="METRIC",
        help="metric by which the worst and best clips are chosen (default: stft_distance)",
    )
    parser.add_argument("--seed", type=whole(0), default=0, help="of the bootstrap and a blind page (default: 0)")
    add_extras(parser)
    add_sharing(parser, "one per core")
    blind = parser.add_argument_group("a blind listening test")
    blind.add_argument(
        "--blind", choices=METHODS, help="write a page for it: mushra.html (ratings after BS.1534), or abx.html"
    )
    blind.add_argument(
        "--trials", type=whole(1), metavar="N", help=f"of each pair, with abx (default: {DEFAULT_TRIALS})"
    )
    add_own_model(parser)


def main(arguments: argparse.Namespace) -> int:
    """Evaluates; 1 if any file failed."""
    clips, audio = _clips(arguments.audio or str(DEFAULT_CLIPS))
    estimates = named_folders("--estimate", "codec", arguments.estimate, bare=True)
    references = references_of(arguments)
    report = Report(clips, audio, arguments.rank_by, references, arguments.parquet)
    if arguments.merge:
        check_merge(arguments)
        evaluation = merge(arguments.merge, arguments.out, report, seed=arguments.seed)
        _print(evaluation, arguments.out, references)
        return 1 if evaluation.failures else 0
    _check(arguments, estimates)
    models = models_of(arguments, estimates)
    _check_blind(arguments, [*models, *estimates], clips if audio else 0)
    if arguments.test_tones:
        measure_by_tones(arguments)
        if arguments.data is None and arguments.reference is None:
            return 0
    reference: Path = arguments.reference or arguments.data
    failed: dict[Path, str] = {}
    made: dict[str, Path] = {}
    codecs: dict[str, CodecFacts] = {}
    for name, model in models.items():
        made[name], reasons, codecs[name] = reconstruct_with(arguments, name, model, reference)
        failed |= reasons
    estimates = {**made, **estimates}
    evaluation = evaluate(
        reference,
        estimates,
        arguments.out,
        report,
        align=arguments.align,
        also=optional_metrics(arguments),
        fad=arguments.fad,
        engine=arguments.engine,
        processes=arguments.processes,
        seed=arguments.seed,
        reasons=failed,
        codecs=codecs,
    )
    if evaluation.place.size > 1:
        print_share(evaluation, arguments.out)
        return 1 if evaluation.failures else 0
    _print(evaluation, arguments.out, references)
    if arguments.blind:
        _blind(arguments, evaluation, clips)
    return 1 if evaluation.failures or failed else 0


def _check(arguments: argparse.Namespace, estimates: dict[str, Path]) -> None:
    if arguments.test_tones and arguments.weights is None:
        raise UserError("--test-tones measures a model; give --weights as well")
    if arguments.data is not None and arguments.weights is None and not arguments.codec:
        raise UserError("--data is music for a model; give --weights or --codec as well, or --reference instead")
    if arguments.weights is not None and arguments.data is None and not arguments.test_tones:
        raise UserError("--weights needs music; give --data, or --test-tones")
    if arguments.reference is not None and arguments.data is not None:
        raise UserError("--data takes the place of --reference; give one of them")
    if (
        arguments.reference is None
        and arguments.data is None
        and (arguments.estimate or arguments.codec or not arguments.test_tones)
    ):
        raise UserError("give --reference and --estimate or --codec, or --weights and --data")
    # What would otherwise come to light after hours of reconstruction.
    if arguments.reference is not None and not (estimates or arguments.codec):
        raise UserError("nothing to evaluate; give at least one --estimate NAME=FOLDER or --codec")
    if arguments.weights is not None and (name := system_name(arguments.weights)) in estimates:
        raise UserError(f"--weights is evaluated under the name {name}; give --estimate {name}=… another one")
    for path in (arguments.reference, arguments.data, *estimates.values()):
        if path is not None and not path.exists():
            raise UserError(f"no such file or folder: {path}")
    check_engine(arguments.engine, arguments.processes)
    check_packages(optional_metrics(arguments), arguments.fad)
    if (arguments.data is not None or arguments.codec) and find_place().size > 1:
        raise UserError(
            "ranks cannot wait for the reconstructions of --data and --codec; run ear-sat reconstruct among them first "
            "(of a codec this command, by one process, which keeps them in --out), and then this one with --reference "
            "and --estimate"
        )


def _check_blind(arguments: argparse.Namespace, systems: list[str], clips: int | None) -> None:
    if arguments.trials is not None and (arguments.blind is None or not METHODS[arguments.blind].trials):
        raise UserError("--trials is for --blind abx")
    if arguments.blind is None:
        return
    if arguments.reference is None and arguments.data is None:
        raise UserError("--blind needs music; give --reference and --estimate, or --data")
    if clips == 0:
        raise UserError(f"--blind needs clips to listen to; leave --audio {arguments.audio} out")
    check_systems(arguments.blind, systems)


def _blind(arguments: argparse.Namespace, evaluation: Evaluation, clips: int | None) -> None:
    test = write_test(
        evaluation,
        arguments.out,
        arguments.blind,
        clips=METHODS[arguments.blind].clips if arguments.audio is None else clips,
        trials=arguments.trials or DEFAULT_TRIALS,
        rank_by=arguments.rank_by,
        processes=arguments.processes,
    )
    what = f"{test.clips} clip(s) in {test.versions} versions, {test.bytes / 1e6:.0f} MB"
    print(
        f"listening test: {test.path} ({what}); send it to listeners, and give their files to ear-sat listening-results"
    )


def _clips(text: str) -> tuple[int | None, bool]:
    """Number of clips (None: all), and whether they can be played."""
    count = clip_count(text, "clips")
    return (DEFAULT_CLIPS, False) if text == "none" else (count, True)


def _print(evaluation: Evaluation, out: Path, references: Sequence[Reference]) -> None:
    note = evaluation.sharing_note()
    print_summary(evaluation.summaries, evaluation.systems, [f"Note: {note}."] if note else [])
    print_rates(evaluation.codecs)
    print_extras(evaluation, references)
    lines = [f"failed: {result.file}, {result.system}: {result.error}" for result in evaluation.failures]
    lines += [f"unmatched: {entry.path} ({entry.system}) {entry.reason}" for entry in evaluation.pairing.unmatched]
    lines += [f"note: {note}" for note in evaluation.pairing.notes]
    late = sum(bool(result.offset) for result in evaluation.results)
    if late and not evaluation.align:
        lines.append(f"note: {late} pair(s) are misaligned by a constant offset; --align takes it out")
    for line in lines[:MAX_LINES]:
        print(line)
    if len(lines) > MAX_LINES:
        print(f"… and {len(lines) - MAX_LINES} more in {out / 'results.csv'}")
    measured = len(evaluation.results) - len(evaluation.failures)
    print(f"{measured} pair(s) measured, {len(evaluation.failures)} failed; report: {out / 'report.html'}")
