"""Runs of the plugin: pressure against strain, energy conservation, restart, hybrid styles, several
instances."""

from __future__ import annotations

import re
import subprocess
import sys

import numpy as np
import pytest
import torch

from tlmd.calculator import TLCalculator
from tlmd.export import add_self_test, script
from tlmd.modelfile import Card, Sample
from tlmd.models.architecture import Architecture, new_potential
from tlmd.models.painn import PaiNN
from tlmd.run.installed import plugin_folder

from .conftest import water_box, write_data

HEAD = """
units metal
atom_style atomic
read_data water.data
"""


def style(model, kind="tpainn", elements="O H") -> str:
    return f"pair_style {kind}\npair_coeff * * {model} {elements}\n"


def printed(text: str, name: str) -> np.ndarray:
    """Numbers of the lines `NAME a b ...` that a deck printed, (lines, numbers)."""
    rows = [line.split()[1:] for line in text.splitlines() if line.startswith(f"{name} ")]
    assert rows, f"no line {name}"
    return np.array(rows, float)


@pytest.mark.parametrize("ranks", [1, 2])
def test_pressure_is_the_slope_of_the_energy(water, models, run_lammps, ranks):
    h = 1e-4
    scaled = "".join(
        f"change_box all x scale {s:.10f} y scale {s:.10f} z scale {s:.10f} remap\nrun 0\n"
        'print "STRAIN $(vol:%.15g) $(pe:%.15g) $(c_p:%.15g)"\n'
        for s in (1.0, 1 + h, (1 - h) / (1 + h))
    )
    thermo = "compute p all pressure NULL virial\nthermo_style custom step pe c_p vol\n"
    text = run_lammps(HEAD + style(models["float64"]) + thermo + scaled, ranks).text
    (_, _, pressure), (v1, e1, _), (v0, e0, _) = printed(text, "STRAIN")
    assert pressure == pytest.approx(-(e1 - e0) / (v1 - v0) * 1.6021765e6, rel=1e-5)


def test_restart_equals_an_uninterrupted_run(water, models, run_lammps):
    run = "fix 1 all nve\ntimestep 0.0005\nthermo_style custom step pe ke press\n"
    end = 'run 0 post no\nprint "END $(pe:%.15g) $(ke:%.15g) $(press:%.15g)"\n'
    start = HEAD + style(models["float64"]) + run + "velocity all create 300 7 loop geom\n"
    whole = printed(run_lammps(start + "run 20\nrun 20\n" + end, 2).text, "END")
    parts = start + "run 20\nwrite_restart half.restart\nclear\nread_restart half.restart\n"
    parts += style(models["float64"]) + run + "run 20\n" + end
    np.testing.assert_allclose(printed(run_lammps(parts, 2).text, "END"), whole, rtol=1e-9)


def test_hybrid_overlay_adds(water, models, run_lammps):
    lj, model = "2 2 lj/cut 0.02 1.5", models["float64"]
    head = HEAD.replace("atom_style atomic", "atom_style atomic\natom_modify map array")
    end = "variable f equal fx[5]\nthermo_style custom step pe press\nrun 0\n"
    end += 'print "END $(pe:%.15g) $(press:%.15g) $(v_f:%.15g)"\n'
    styles = {
        "model": style(model),
        "lj": f"pair_style hybrid/overlay zero 5.0 lj/cut 4.0\npair_coeff * * zero\npair_coeff {lj}\n",
        "both": f"pair_style hybrid/overlay tpainn lj/cut 4.0\npair_coeff * * tpainn {model} O H\npair_coeff {lj}\n",
    }
    values = {name: printed(run_lammps(head + s + end, 2).text, "END")[0] for name, s in styles.items()}
    assert np.all(np.abs(values["lj"]) > 1e-6)
    np.testing.assert_allclose(values["both"], values["model"] + values["lj"], rtol=1e-9)


@pytest.mark.parametrize("ranks", [1, 2])
def test_null_types_do_not_take_part(water, models, run_lammps, ranks):
    """With NULL for H, the energy is that of the oxygens alone."""
    deck = (
        HEAD
        + f"""
pair_style hybrid/overlay tpainn zero 5.0
pair_coeff * * tpainn {models["float64"]} O NULL
pair_coeff * * zero
thermo_style custom step pe
run 0
print "END $(pe:%.15g)"
"""
    )
    oxygens = water[[a.symbol == "O" for a in water]]
    oxygens.calc = TLCalculator(models["float64"])
    assert printed(run_lammps(deck, ranks).text, "END")[0, 0] == pytest.approx(oxygens.get_potential_energy(), rel=1e-9)


def test_deleted_and_added_atoms(water, models, run_lammps):
    deck = (
        HEAD
        + style(models["float64"])
        + """
thermo_style custom step pe
run 0
group gone id <= 3
delete_atoms group gone compress no
run 0
print "END $(pe:%.15g)"
create_atoms 1 single 1.5 1.5 1.5
run 0
print "END $(pe:%.15g)"
"""
    )
    left = water[3:]
    values = printed(run_lammps(deck, 2).text, "END")[:, 0]
    for value, atoms in zip(values, (left, left + left.__class__("O", [[1.5] * 3])), strict=True):
        atoms.calc = TLCalculator(models["float64"])
        assert value == pytest.approx(atoms.get_potential_energy(), rel=1e-9)


@pytest.mark.parametrize("kind", ["tpainn", "mekrr"])
def test_minimize_to_a_millionth(tmp_path, models, kernel_models, run_lammps, kind):
    """The largest force of a molecule comes to 1e-6 eV/A, and the energy there is lower than all on the way."""
    model = (models if kind == "tpainn" else kernel_models)["float64"]
    water = water_box(1, 20.0)
    write_data(tmp_path / "water.data", water)
    deck = (
        HEAD + style(model, kind) + "thermo_style custom step pe fmax\nthermo 1\nmin_modify norm max line quadratic\n"
    )
    deck += "minimize 0.0 1e-6 5000 20000\n"
    deck += 'print "END $(fmax:%.6g)"\n'
    text = run_lammps(deck).text
    assert printed(text, "END")[0, 0] <= 1e-6
    assert "Stopping criterion = force tolerance" in text
    rows = [line.split() for line in text.splitlines() if re.fullmatch(r" +\d+( +[-\d.e+]+){2} *", line)]
    energies = np.array([row[1] for row in rows], float)
    assert len(energies) > 3 and energies[0] - energies[-1] > 1e-3
    assert energies.min() >= energies[-1] - 1e-9


def test_two_instances_and_a_second_style_in_one_process(water, models, tmp_path, backend):
    script = f"""
from mpi4py import MPI
from lammps import lammps
def start():
    lmp = lammps(cmdargs=["-log", "none", "-screen", "none"])
    lmp.commands_string('''{HEAD}''')
    return lmp
a, b = start(), start()
for lmp, model in ((a, "{models["float64"]}"), (b, "{models["float32"]}"), (a, "{models["float32"]}")):
    lmp.commands_string(f"pair_style tpainn backend {backend} device cpu\\npair_coeff * * {{model}} O H\\nrun 0")
    print("END", repr(lmp.get_thermo("pe")))
a.command("run 0")
print("END", repr(a.get_thermo("pe")))
a.close(); b.close()
"""
    environment = {"LAMMPS_PLUGIN_PATH": str(plugin_folder()), "PATH": "/usr/bin:/bin"}
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    values = printed(done.stdout, "END")[:, 0]
    water.calc = TLCalculator(models["float64"])
    np.testing.assert_allclose(values, water.get_potential_energy(), rtol=1e-6)
    assert values[1] == values[2] == values[3] != values[0]


def test_the_log_names_the_model(water, models, run_as_written):
    text = run_as_written(HEAD + style(models["float64"]) + "run 0\n").text
    assert re.search(r"tpainn: .*float64.pt: PaiNN F=16 L=3, cutoff 5 A, float64 on cpu", text)
    bins, error = re.search(r"native engine on \w+ \((\d+) bins, table error (\S+) of the rms force\)", text).groups()
    assert 96 < int(bins) < 2048 and 0 < float(error) < 1e-9
    # before step 0: what memory it takes, and that both backends agree
    memory, agreement, table = (text.index(words) for words in ("needs about", "native and scripted agree", "   Step"))
    assert memory < table and agreement < table
    assert 0.1 < float(re.search(r"needs about (\S+) MiB", text)[1]) < 100


def test_first_step_finds_a_script_that_is_not_the_engine(water, tmp_path, run_as_written):
    """A file whose script and self-test agree, but compute something else than PaiNN."""
    torch.manual_seed(1)
    potential = new_potential(["O", "H"], 5.0, Architecture(width=16, n_layers=2, n_radial=8))
    potential.net = OddPaiNN(2, 16, 2, 8)
    add_self_test(potential, Sample(water.numbers, water.positions, water.cell.array, water.pbc))
    (tmp_path / "odd.pt").write_bytes(script(potential, Card(elements=["O", "H"], cutoff=5.0)))
    deck = HEAD + "pair_style tpainn {}\npair_coeff * * odd.pt O H\nrun 0\n"
    for ranks in (1, 2):
        text = run_as_written(deck.format(""), ranks, ok=False).text
        assert "got native forces or energies off by" in text
        assert "from the scripted model; wanted at most 1.1e-04; use backend torchscript" in text
    run_as_written(deck.format("check no"))
    run_as_written(deck.format("backend torchscript"))


class OddPaiNN(PaiNN):
    @torch.jit.export
    def readout(self, q: torch.Tensor) -> torch.Tensor:
        return 1.01 * self.energy(q).squeeze(-1)


def test_first_step_checks_a_part_of_a_large_system(models, tmp_path, run_as_written):
    write_data(tmp_path / "water.data", water_box(7))
    text = run_as_written(HEAD + style(models["float32"]) + "run 0\n").text
    assert re.search(r"native and scripted agree to \S+ on the first step \(1000 atoms of each rank\)", text)


def test_threads_give_the_same_trajectory_every_time(water, models, run_as_written):
    deck = HEAD + style(models["float32"]) + "velocity all create 300 7 loop geom\nfix 1 all nve\ntimestep 0.0005\n"
    deck += 'run 20\nprint "END $(pe:%.15g) $(ke:%.15g) $(press:%.15g)"\n'
    alone, first, again = (printed(run_as_written(deck, threads=n).text, "END") for n in (1, 2, 2))
    np.testing.assert_array_equal(first, again)
    np.testing.assert_allclose(first, alone, rtol=1e-5)
