"""The tl-* commands: one thin function each; the work is in the modules they call."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Optional

import typer

import tlmd
from tlmd.run.command import Application, entry

Config = Annotated[Path, typer.Argument(help="TOML file of this stage; paths in it are relative to it")]
Out = Annotated[Optional[Path], typer.Option("--out", help="run folder to write (default: from the TOML)")]
Set = Annotated[Optional[list[str]], typer.Option("--set", help="override a key, e.g. training.max_steps=200")]
Json = Annotated[Optional[Path], typer.Option("--json", help="write the result as JSON to this file")]


def analyze() -> None:
    """tl-analyze: properties with errors, and a report, from LAMMPS logs and dumps."""
    from tlmd.analysis.commands import app

    app()


def init() -> None:
    """tl-init: a folder with commented TOMLs, data files and a README for a liquid, a molecule, a surface or frames."""
    from tlmd.start.commands import app

    app()


@entry
def check(
    files: Annotated[list[Path], typer.Argument(help="TOML files; the run folder of one may hold inputs of another")],
    stage: Annotated[Optional[str], typer.Option(help="their stage, e.g. finetune (default: by their keys)")] = None,
) -> None:
    """tl-check: whether TOML files are valid for their stages, keys, values and files, without running anything."""
    from tlmd.run.check import check

    print(*check(files, stage), sep="\n")


@entry
def schema(stage: Annotated[str, typer.Argument(help="name of a stage, e.g. finetune")]) -> None:
    """tl-schema: the JSON schema of a stage's TOML, for editors that complete and check it."""
    from tlmd.run.check import stage_named

    print(json.dumps(stage_named(stage).model_json_schema(), indent=2))


@entry
def pretrain(config: Config, out: Out = None, set_: Set = None) -> None:
    """tl-pretrain: train a new model, on classical labels or from scratch on DFT ones."""
    from tlmd.run.config import load_config
    from tlmd.run.memory import keep_memory
    from tlmd.train.config import PretrainConfig
    from tlmd.train.pretrain import pretrain

    keep_memory()
    settings = load_config(PretrainConfig, config, set_)
    pretrain(settings, out or settings.out)


@entry
def finetune(config: Config, out: Out = None, set_: Set = None) -> None:
    """tl-finetune: a pretrained model learns from a few frames of another level of theory by the method T-PaiNN."""
    from tlmd.run.config import load_config
    from tlmd.run.memory import keep_memory
    from tlmd.train.config import FinetuneConfig
    from tlmd.train.finetune import finetune

    keep_memory()
    settings = load_config(FinetuneConfig, config, set_)
    finetune(settings, out or settings.out)


@entry
def mekrr(config: Config, out: Out = None, set_: Set = None) -> None:
    """tl-mekrr: kernel ridge regression on the features of a frozen network; mpirun shares the frames among ranks."""
    from tlmd.mekrr.config import MekrrConfig
    from tlmd.mekrr.fit import mekrr
    from tlmd.run.config import load_config
    from tlmd.run.memory import keep_memory

    keep_memory()
    settings = load_config(MekrrConfig, config, set_)
    mekrr(settings, out or settings.out)


@entry
def curve(config: Config, out: Out = None, set_: Set = None) -> None:
    """tl-curve: errors against the number of training frames, for several methods; or a search of hyper-parameters."""
    from tlmd.curves.config import CurveConfig
    from tlmd.curves.curve import curve
    from tlmd.run.config import load_config

    settings = load_config(CurveConfig, config, set_)
    curve(settings, out or settings.out)


@entry
def oracle(config: Config, out: Out = None, set_: Set = None) -> None:
    """tl-oracle: density, diffusion and more of models trained on a potential, against those of the potential."""
    from tlmd.oracle.config import OracleConfig
    from tlmd.oracle.oracle import oracle
    from tlmd.run.config import load_config

    settings = load_config(OracleConfig, config, set_)
    oracle(settings, out or settings.out)


@entry
def learn(
    config: Config,
    out: Out = None,
    set_: Set = None,
    status: Annotated[bool, typer.Option("--status", help="print the rounds that have ended, and do nothing")] = False,
) -> None:
    """tl-learn: rounds of labels, a committee of models and MD, which finds the frames to label next."""
    from tlmd.learn.config import LearnConfig
    from tlmd.learn.learn import learn
    from tlmd.learn.report import status as rounds
    from tlmd.run.config import load_config
    from tlmd.run.console import console
    from tlmd.run.memory import keep_memory

    settings = load_config(LearnConfig, config, set_)
    if status:
        console().print(rounds(out or settings.out))
        return
    keep_memory()
    learn(settings, out or settings.out)


@entry
def campaign(
    config: Config,
    out: Out = None,
    set_: Set = None,
    status: Annotated[bool, typer.Option("--status", help="print where each run stands, and do nothing")] = False,
) -> None:
    """tl-campaign: LAMMPS runs of models at temperatures, pressures, seeds, ensembles and sizes, with their results."""
    from tlmd.campaign.campaign import campaign, runs_of
    from tlmd.campaign.config import CampaignConfig
    from tlmd.campaign.report import status as table
    from tlmd.run.config import load_config
    from tlmd.run.console import console

    settings = load_config(CampaignConfig, config, set_)
    out = out or settings.out
    if status:
        console().print(table(runs_of(settings, out), out))
        return
    campaign(settings, out)


@entry
def evaluate(
    model: Annotated[Path, typer.Argument(help="trained or exported model")],
    data: Annotated[Path, typer.Argument(help="labelled frames")],
    json_: Json = None,
    plot: Annotated[Optional[Path], typer.Option("--plot", help="write a parity plot to this file")] = None,
    backend: Annotated[Optional[str], typer.Option(help="native (the engine) or torch")] = None,
) -> None:
    """tl-evaluate: errors of a model on labelled frames."""
    from tlmd.evaluate.file import evaluate_file
    from tlmd.run.memory import keep_memory

    keep_memory()
    print(f"RMSE (MAE): {evaluate_file(model, data, json_, plot, backend)[0].line()}")


@entry
def generate(config: Config, out: Out = None, set_: Set = None) -> None:
    """tl-generate: cheap labels of the systems in CONFIG by one teacher; mpirun shares the work among ranks."""
    from tlmd.generate import driver
    from tlmd.generate.config import GenerateConfig
    from tlmd.run.config import load_config

    settings = load_config(GenerateConfig, config, set_)
    driver.generate(settings, out or settings.out)


@entry
def data(
    files: Annotated[list[Path], typer.Argument(help="frames, in any format that tlmd reads (docs/data.md)")],
    model: Annotated[Optional[str], typer.Option(help="its features give a map and distances of the frames")] = None,
    json_: Json = None,
    plot: Annotated[Optional[Path], typer.Option("--plot", help="write histograms and the map to this file")] = None,
    chemiscope: Annotated[
        Optional[Path], typer.Option(help="write a file for chemiscope.org, .json or .json.gz")
    ] = None,
    split: Annotated[
        Optional[Path], typer.Option(help="folder for train, valid and test.extxyz.xz, by whole trajectories")
    ] = None,
    by: Annotated[str, typer.Option(help="info key that tells trajectories apart, for --split")] = "source",
) -> None:
    """tl-data: what is in files of frames: labels and their ranges, distances, duplicates, outliers."""
    from tlmd.data.data import data

    data(files, model, json_, plot, chemiscope, split, by)


@entry
def select(config: Config, out: Out = None, set_: Set = None) -> None:
    """tl-select: the frames of a pool that are worth labelling, by the features of a model."""
    from tlmd.run.config import load_config
    from tlmd.select.config import SelectConfig
    from tlmd.select.select import select

    settings = load_config(SelectConfig, config, set_)
    select(settings, out or settings.out)


@entry
def calibrate(config: Config, out: Out = None, set_: Set = None) -> None:
    """tl-calibrate: a force field matched to a few DFT frames, as a LAMMPS include that tl-generate takes."""
    from tlmd.calibrate.config import CalibrateConfig
    from tlmd.calibrate.fit import calibrate
    from tlmd.run.config import load_config

    settings = load_config(CalibrateConfig, config, set_)
    calibrate(settings, out or settings.out)


@entry
def label(
    config: Annotated[
        list[str],
        typer.Argument(
            metavar="[prepare|collect] CONFIG",
            help="TOML file of this stage. prepare: write inputs and jobs.txt, run nothing; collect: read the outputs "
            "of jobs that were run by hand",
        ),
    ],
    out: Out = None,
    set_: Set = None,
) -> None:
    """tl-label: energies, forces and stresses of frames by a DFT code or any ASE calculator, one job a frame."""
    from tlmd.label.config import LabelConfig
    from tlmd.label.label import collect, label, prepare
    from tlmd.run.config import load_config
    from tlmd.run.errors import InputError

    actions = {"prepare": prepare, "collect": collect}
    *words, path = config
    if len(words) > 1 or not actions.keys() >= set(words):
        raise InputError(" ".join(config), "[prepare|collect] CONFIG", "see tl-label --help")
    settings = load_config(LabelConfig, path, set_)
    actions.get("".join(words), label)(settings, out or settings.out)


@entry
def export(
    model: Annotated[Path, typer.Argument(help="trained model (model.pt)")],
    out: Annotated[Optional[Path], typer.Option("-o", "--out", help="file to write (default MODEL-lammps.pt)")] = None,
    dtype: Annotated[Optional[str], typer.Option(help="float32 or float64 (default: the model's)")] = None,
    data: Annotated[Optional[Path], typer.Option(help="frames to compare on (default: the model's sample)")] = None,
) -> None:
    """tl-export: TorchScript for `pair_style tpainn`, written only if it agrees with the trained model."""
    from tlmd.export import export_members, export_model, lammps_lines
    from tlmd.frames.read import read_frames

    frames = read_frames(data)[:8] if data else ()
    files = export_members(model, export_model(model, out, dtype, frames), dtype, frames)
    print(*files, *lammps_lines(files), sep="\n")


@entry
def plugin() -> None:
    """tl-plugin: print the folder for LAMMPS_PLUGIN_PATH."""
    from tlmd.run.installed import plugin_folder

    print(plugin_folder())


@entry
def bench(
    model: Annotated[str, typer.Argument(help="model.pt, an exported model, or the name of a shipped one")] = (
        "water-gfn1-f64"
    ),
    box: Annotated[
        Optional[Path], typer.Option(help="LAMMPS data file (atomic) or frames, repeated to each size (default: water)")
    ] = None,
    seconds: Annotated[float, typer.Option(min=0.1, max=3600, help="s, of each run")] = 8.0,
    timestep: Annotated[float, typer.Option(min=0.01, max=10, help="fs, for the nanoseconds of a day")] = 0.5,
    json_: Json = None,
) -> None:
    """tl-bench: nanoseconds a day of MD in LAMMPS on this machine, for 192, 1536 and 20 000 atoms, in a minute."""
    from tlmd.bench import bench
    from tlmd.run.files import write_text
    from tlmd.run.installed import water_inputs

    speeds = bench(model, box or water_inputs() / "water64.data", seconds, timestep)
    if json_:
        write_text(json_, json.dumps(speeds, indent=2) + "\n")


@entry
def demo(
    system: Annotated[str, typer.Option("--system", help="water, methanol, or a folder with a demo.toml")] = "water",
    out: Annotated[Optional[Path], typer.Option("--out", help="folder to write (default: of demo.toml)")] = None,
    steps: Annotated[Optional[int], typer.Option(help="training steps, from scratch and of fine-tuning")] = None,
    frames: Annotated[Optional[int], typer.Option(help="DFT frames to train on")] = None,
    classical_frames: Annotated[Optional[int], typer.Option(help="frames labelled by the classical teacher")] = None,
    classical_steps: Annotated[Optional[int], typer.Option(help="training steps on them")] = None,
    md_minutes: Annotated[float, typer.Option(help="wall time of each of the two MD runs, at most")] = 3.5,
    md_steps: Annotated[int, typer.Option(help="time steps of each of the two MD runs, at most")] = 1_000_000,
    from_scratch: Annotated[bool, typer.Option("--from-scratch", help="do without the shipped model")] = False,
    set_: Annotated[Optional[list[str]], typer.Option("--set", help="override a key of demo.toml")] = None,
) -> None:
    """tl-demo: the complete workflow on a liquid, from cheap labels to density and diffusion beside experiment.

    What is not given is as the demo.toml of the system says.
    """
    from tlmd.demo.config import demo_config, size_of
    from tlmd.demo.demo import demo

    config = demo_config(system, set_)
    given = {"steps": steps, "frames": frames, "classical_frames": classical_frames, "classical_steps": classical_steps}
    size = size_of(config, given | {"md_minutes": md_minutes, "md_steps": md_steps}, from_scratch)
    demo(out or config.out, config, size, from_scratch)


def _version(asked: bool) -> None:
    if asked:
        print(f"tlmd {tlmd.__version__}")
        raise typer.Exit


def tl() -> None:
    """tl: every command as a sub-command, `tl finetune` for `tl-finetune`; --version, completion."""
    app = Application(help="Machine-learning potentials for LAMMPS. `tl finetune` is `tl-finetune`, and so on.")

    @app.callback()
    def main(
        version: Annotated[bool, typer.Option("--version", is_eager=True, callback=_version, help="and exit")] = False,
    ) -> None:
        pass

    @app.command("analyze", add_help_option=False, context_settings={"ignore_unknown_options": True})
    def analyses(words: Annotated[Optional[list[str]], typer.Argument(metavar="ANALYSIS ...")] = None) -> None:
        """Density, diffusion, structure and a report from LAMMPS logs and dumps."""
        from tlmd.analysis.commands import app

        app(words or [], prog_name="tl analyze")

    @app.command("init", add_help_option=False, context_settings={"ignore_unknown_options": True})
    def starts(words: Annotated[Optional[list[str]], typer.Argument(metavar="KIND ...")] = None) -> None:
        """A folder with commented TOMLs, data files and a README for a liquid, a molecule, a surface or frames."""
        from tlmd.start.commands import app

        app(words or [], prog_name="tl init")

    labels = (check, schema, data, generate, select, label, calibrate)
    models = (pretrain, finetune, mekrr, curve, oracle, learn, evaluate, export, campaign)
    for command in (*labels, *models, plugin, bench, demo):
        app.command(command.__name__)(command.__wrapped__)
    app()
