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
from ..codecs import CODECS, Codec, CodecFacts, find_codec
from ..compute import PRECISIONS
from ..errors import UserError
from ..evaluate import Evaluation, Report, evaluate, merge
from ..evaluate.engine import check_processes
from ..evaluate.rates import print_rates
from ..evaluate.references import Reference
from ..evaluate.report import DEFAULT_CLIPS
from ..evaluate.run import check_packages
from ..evaluate.tables import print_summary
from ..files import disk_errors, make_folder
from ..host.opening import weights_source
from ..listening import METHODS, write_test
from ..listening.methods import check_systems
from ..listening.page import DEFAULT_TRIALS
from ..metrics import METRICS
from ..models.reconstruction import DEFAULT_CHUNK_SECONDS
from ..ranks import find_place
from ..report.tables import print_table
from ..weights import Source, resolve
from ..weights.hub import hub_name
from .clip_count import clip_count
from .evaluation_extras import add_extras, check_merge, optional_metrics, print_extras, print_share, references_of
from .named_folders import named_folders
from .sharing import add_sharing
from .weights_arguments import add_model_config

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
    parser.add_argument(
        "--codec",
        action="append",
        default=[],
        metavar="CODEC",
        help=f"a codec to run on the music: {', '.join(CODECS)}, a model on the hub as USER/NAME, or the folder of a "
        "model; NAME=… names it, and encodec_48khz:6 is that one at 6 kbit/s (default: its highest); once per codec",
    )
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
    own = parser.add_argument_group("with a model of one's own")
    own.add_argument(
        "--weights",
        type=path_argument,
        metavar="FILE",
        help="checkpoint or export of an autoencoder, 44k or 48k, or USER/NAME on the hub",
    )
    add_model_config(own)
    own.add_argument(
        "--data", type=path_argument, metavar="DIR", help="folder of music for it, in place of --reference"
    )
    own.add_argument(
        "--test-tones",
        action="store_true",
        help="measure distortion, response, impulse, crosstalk and noise of --weights, with or without --data",
    )
    own.add_argument("--device", default="auto", help="cpu, cuda, cuda:1, mps (default: a GPU where there is one)")
    own.add_argument("--precision", choices=PRECISIONS, default="32", help="float32 (default), bfloat16 or float16")
    own.add_argument(
        "--chunk-seconds",
        type=float,
        default=DEFAULT_CHUNK_SECONDS,
        help=f"audio computed at a time (default: {DEFAULT_CHUNK_SECONDS:g})",
    )
    own.add_argument("--batch-size", type=int, default=1, help="chunks computed at a time (default: 1)")


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
    models = _models(arguments, estimates)
    _check_blind(arguments, [*models, *estimates], clips if audio else 0)
    if arguments.test_tones:
        _test_tones(arguments, _weights(arguments))
        if arguments.data is None and arguments.reference is None:
            return 0
    reference: Path = arguments.reference or arguments.data
    failed: dict[Path, str] = {}
    made: dict[str, Path] = {}
    codecs: dict[str, CodecFacts] = {}
    for name, model in models.items():
        made[name], reasons, codecs[name] = _reconstruct(arguments, name, model, reference)
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
    if arguments.weights is not None and (name := _name(arguments.weights)) in estimates:
        raise UserError(f"--weights is evaluated under the name {name}; give --estimate {name}=… another one")
    for path in (arguments.reference, arguments.data, *estimates.values()):
        if path is not None and not path.exists():
            raise UserError(f"no such file or folder: {path}")
    check_processes(arguments.processes, jobs=1)
    check_packages(optional_metrics(arguments), arguments.fad)
    if arguments.data is not None and find_place().size > 1:
        raise UserError(
            "ranks cannot wait for the reconstructions of --data; run ear-sat reconstruct among them first, and then "
            "this command with --reference and --estimate"
        )


def _models(arguments: argparse.Namespace, estimates: dict[str, Path]) -> dict[str, Source | Codec]:
    """Name → what is to reconstruct the music: --weights, and each --codec, which is downloaded now."""
    models: dict[str, Source | Codec] = {}
    if arguments.data is not None and arguments.weights is not None:
        models[_name(arguments.weights)] = _weights(arguments)
    for text in arguments.codec:
        name, codec = find_codec(text)
        if name in models or name in estimates:
            raise UserError(f"{name} names two systems; give --codec {text} a name of its own with NAME=…")
        models[name] = codec if isinstance(codec, Codec) else weights_source(resolve(codec))
    return models


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


def _name(weights: Path) -> str:
    """The system's name in the results: of the file, of the folder of an export or run, or of a hub's model."""
    on_hub = hub_name(weights)
    return weights.resolve().stem if on_hub is None else on_hub.name


def _weights(arguments: argparse.Namespace) -> Source:
    """The file that ``--weights`` stands for, which may be a folder or the name of a release, and its config."""
    file = resolve(arguments.weights)
    if not file.exists():
        raise UserError(f"no such file: {file}; give the checkpoint of an autoencoder")
    return weights_source(file, arguments.model_config)


def _test_tones(arguments: argparse.Namespace, weights: Source) -> None:
    import torch
    from tqdm import tqdm

    from ..compute import true_float32
    from ..inference import Settings, open_model
    from ..tones import measure_tones, save_tone_report, tone_tables

    model = open_model(weights, arguments.device, Settings(precision=arguments.precision))
    make_folder(arguments.out / "test_tones")
    with tqdm(unit="signal", disable=None) as bar:

        def process(signal: torch.Tensor) -> torch.Tensor:
            with true_float32():
                return model.reconstruct(signal, model.sample_rate, chunk_seconds=arguments.chunk_seconds)

        def progress(done: int, total: int) -> None:
            bar.total = total
            bar.update(done - bar.n)

        results = measure_tones(process, model.sample_rate, progress=progress)
    with disk_errors(arguments.out):
        page = save_tone_report(results, arguments.out / "test_tones")
    for table in tone_tables(results):
        print_table(*table)
    print(f"test tones: {page}")


def _reconstruct(
    arguments: argparse.Namespace, name: str, model: Source | Codec, music: Path
) -> tuple[Path, dict[Path, str], CodecFacts]:
    from ..evaluate.reconstructions import reconstruct_folder
    from ..inference import Settings

    settings = Settings(
        subtype="float",
        channels="downmix",  # as the measurement does with the references
        precision="32" if isinstance(model, Codec) else arguments.precision,  # as published
        chunk_seconds=arguments.chunk_seconds,
        batch_size=arguments.batch_size,
    )
    return reconstruct_folder(name, model, music, arguments.out, settings, arguments.device)


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
