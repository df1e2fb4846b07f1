"""`pair_style d3` against s-dftd3: energies, forces, virials, any ranks and boxes; every N, tail, refusals."""

import json
import re
import zlib

import numpy as np
import pytest
from ase import Atoms
from ase.build import molecule

from tlmd._engine import available_isas
from tlmd.baseline.d3 import D3, D3Config
from tlmd.units import BAR_PER_EV_A3, EV_PER_KCAL_MOL

from .conftest import write_data

pytest.importorskip("dftd3")
pytest.importorskip("tad_dftd3")

from tlmd.baseline import d3_file

TYPES = ("O", "H", "C")
END = """
compute pe all pe/atom
compute st all stress/atom NULL
compute sum all reduce sum c_pe c_st[1] c_st[2] c_st[3] c_st[4] c_st[5] c_st[6]
thermo_style custom step pe pxx pyy pzz pxy pxz pyz c_sum[1] c_sum[2] c_sum[5]
run 0
print "END $(pe:%.15g) $(pxx:%.15g) $(pyy:%.15g) $(pzz:%.15g) $(pxy:%.15g) $(pxz:%.15g) $(pyz:%.15g) &
$(c_sum[1]:%.15g) $(c_sum[2]:%.15g) $(c_sum[5]:%.15g)"
write_dump all custom forces.dump fx fy fz modify sort id format float %.15g
"""


def config(**changes) -> D3Config:
    return D3Config(**{"kind": "d3", "functional": "revpbe", "cutoff_A": 9.0, "cn_cutoff_A": 7.0} | changes)


def write_file(folder, settings: D3Config, elements=("H", "C", "O")) -> None:
    d3_file.write_d3(folder / "d3.json", settings, elements)


def deck(keywords="", boundary="p p p", units="metal", types="O H C") -> str:
    head = f"units {units}\nboundary {boundary}\natom_style atomic\natom_modify map array\nread_data box.data\n"
    return head + f"pair_style d3 {keywords}\npair_coeff * * d3.json {types}\n"


def result(folder, text: str) -> tuple[list[float], np.ndarray]:
    """What END printed: energy, pressure (6), the sums over atoms; forces (N, 3)."""
    numbers = next(line for line in text.splitlines() if line.startswith("END ")).split()[1:]
    rows = (folder / "forces.dump").read_text().splitlines()
    forces = np.array([row.split() for row in rows[rows.index("ITEM: ATOMS fx fy fz") + 1 :]], float)
    return [float(x) for x in numbers], forces


@pytest.fixture
def box(tmp_path, water) -> Atoms:
    """Water and a molecule of ethanol in a tilted cell, as box.data."""
    atoms = water + molecule("CH3CH2OH")
    atoms.positions[-9:] += (4.1, 4.6, 4.4)
    cell = atoms.cell.array.copy()
    cell[1, 0], cell[2, 0], cell[2, 1] = 2.0, -1.5, 1.0
    atoms.set_cell(cell)
    write_data(tmp_path / "box.data", atoms, types=TYPES)
    return atoms


def expected(atoms: Atoms, settings: D3Config):
    return D3(settings.described()).values(atoms.numbers, atoms.positions, atoms.cell.array, atoms.pbc)


@pytest.mark.parametrize("damping", ["zero", "bj"])
def test_values_are_those_of_s_dftd3(tmp_path, box, run_as_written, damping):
    settings = config(damping=damping)
    write_file(tmp_path, settings)
    truth = expected(box, settings)
    stress = truth.stress[[0, 1, 2, 0, 0, 1], [0, 1, 2, 1, 2, 2]] * BAR_PER_EV_A3
    for ranks in (1, 2):
        numbers, forces = result(tmp_path, run_as_written(deck() + END, ranks=ranks).text)
        assert numbers[0] == pytest.approx(truth.energy, rel=1e-6)
        np.testing.assert_allclose(numbers[1:7], -stress, atol=2e-6 * np.abs(stress).max())
        np.testing.assert_allclose(forces, truth.forces, atol=1e-6)
        assert numbers[7] == pytest.approx(numbers[0], rel=1e-10)
        volume = box.get_volume()
        assert -numbers[8] / volume == pytest.approx(numbers[1], rel=1e-9)
        assert -numbers[9] / volume == pytest.approx(numbers[4], rel=1e-6)
    assert np.abs(truth.forces).max() > 0.02


def test_every_instruction_set_gives_the_same(tmp_path, box, run_as_written, monkeypatch):
    write_file(tmp_path, config())
    found = {}
    for isa in ("portable", *(isa for isa in available_isas() if isa != "portable")):
        monkeypatch.setenv("TLMD_ISA", isa)
        found[isa] = result(tmp_path, run_as_written(deck() + END).text)
        np.testing.assert_allclose(found[isa][0], found["portable"][0], rtol=1e-10, atol=1e-6)
        np.testing.assert_allclose(found[isa][1], found["portable"][1], atol=1e-10)


def test_forces_are_slopes_of_the_energy(tmp_path, box, run_as_written):
    """With the tail: its part that depends on coordination numbers, too. Steps are so small that no pair crosses the
    cutoff, where the energy is not smooth."""
    write_file(tmp_path, config(damping="bj"))
    h, moves = 1e-4, [(0, 0), (4, 1), (82, 2), (85, 0)]
    text = deck("tail yes") + "\n".join(
        f"run 0\nvariable e{k} equal $(pe:%.15g)\n"
        + "\n".join(
            f"displace_atoms a{k} move {' '.join(str(s if d == axis else 0) for d in range(3))}\nrun 0\n"
            f'print "AT {k} $(pe:%.15g)"'
            for s in (h, -2 * h)
        )
        + f"\ndisplace_atoms a{k} move {' '.join(str(h if d == axis else 0) for d in range(3))}"
        for k, (_, axis) in enumerate(moves)
    )
    groups = "".join(f"group a{k} id {i + 1}\n" for k, (i, _) in enumerate(moves))
    text = text.replace("pair_style", groups + "pair_style", 1)
    ran = run_as_written(text + END).text
    _, forces = result(tmp_path, ran)
    found = re.findall(r"^AT (\d+) (\S+)$", ran, re.M)
    assert len(found) == 2 * len(moves)
    for k, (i, axis) in enumerate(moves):
        ahead, behind = (float(energy) for number, energy in found if int(number) == k)
        assert forces[i, axis] == pytest.approx(-(ahead - behind) / (2 * h), abs=2e-6)


def test_a_free_molecule_and_real_units(tmp_path, run_as_written):
    atoms = molecule("CH3CH2OH")
    atoms.positions += 3.0 - atoms.positions.min(0)
    atoms.set_cell(np.eye(3) * 20)
    write_data(tmp_path / "box.data", atoms, types=TYPES)
    settings = config(functional="b3-lyp", damping="bj")
    write_file(tmp_path, settings)
    truth = expected(atoms, settings)
    for units, unit in (("metal", 1.0), ("real", EV_PER_KCAL_MOL)):
        numbers, forces = result(tmp_path, run_as_written(deck(boundary="f f f", units=units) + END, ranks=2).text)
        assert numbers[0] * unit == pytest.approx(truth.energy, rel=1e-6)
        np.testing.assert_allclose(forces * unit, truth.forces, atol=1e-6)
    text = run_as_written(deck("tail yes", boundary="f f f") + "run 0\n", ok=False).text
    assert "pair_style d3: got tail yes in a box that is not periodic; wanted all directions periodic" in text


def test_the_tail_is_what_a_longer_cutoff_adds(tmp_path, box, run_as_written):
    found = {}
    for name, cutoff, keywords in (("short", 9.0, ""), ("tail", 9.0, "tail yes"), ("long", 18.0, "tail yes")):
        write_file(tmp_path, config(cutoff_A=cutoff))
        text = deck(keywords) + "neigh_modify one 10000 page 200000\n" + END
        found[name], _ = result(tmp_path, run_as_written(text, ranks=2).text)
    for quantity in (0, 1):
        whole = found["long"][quantity] - found["short"][quantity]
        assert found["tail"][quantity] - found["short"][quantity] == pytest.approx(whole, rel=0.1)
    assert found["tail"][7] == pytest.approx(found["tail"][0], rel=1e-10)
    assert -found["tail"][8] / box.get_volume() == pytest.approx(found["tail"][1], rel=1e-9)


def test_held_coefficients(tmp_path, water, run_as_written):
    """every N where hydrogens move as prescribed: exact where coordination numbers are taken, near to it between."""
    write_data(tmp_path / "box.data", water, types=TYPES)
    write_file(tmp_path, config())
    run = "neighbor 2.0 bin\nneigh_modify delay 100\ngroup h type 2\ntimestep 0.0005\n"
    run += "fix 1 h move wiggle 0.004 0.002 -0.003 0.009\ncompute pe all pe/atom\ncompute sum all reduce sum c_pe\n"
    run += "thermo_style custom step pe c_sum\nthermo 1\nrun 7\n"
    run += 'print "END $(pe:%.15g) $(c_sum:%.15g)"\nwrite_dump all custom forces.dump fx fy fz modify sort id &\n'
    run += "format float %.15g\n"

    def found(keywords: str, ranks: int = 1):
        return result(tmp_path, run_as_written(deck(keywords) + run, ranks=ranks).text)

    (exact, _), exact_forces = found("")
    for keywords, energy_bound, force_bound in (("every 7", 1e-9, 1e-9), ("every 5", 5e-6, 1e-2)):
        (energy, sums), forces = found(keywords)
        assert sums == pytest.approx(energy, rel=1e-9)
        assert energy == pytest.approx(exact, rel=energy_bound)
        np.testing.assert_allclose(forces, exact_forces, atol=force_bound)
        (again, _), parallel = found(keywords, ranks=2)
        assert again == pytest.approx(energy, rel=1e-9)
        np.testing.assert_allclose(parallel, forces, atol=1e-9)
    assert np.abs(forces - exact_forces).max() > 1e-7


def test_hybrid_with_types_of_another_style(tmp_path, box, run_as_written):
    """NULL: the pairs of the other types alone."""
    settings = config()
    write_file(tmp_path, settings)
    text = deck(types="O H NULL").replace("pair_style d3", "pair_style hybrid/overlay zero 9.0 d3")
    text = text.replace("pair_coeff * * d3.json", "pair_coeff * * zero\npair_coeff * * d3 d3.json")
    some = box[box.numbers != 6]
    truth = expected(some, settings)
    numbers, forces = result(tmp_path, run_as_written(text + END).text)
    assert numbers[0] == pytest.approx(truth.energy, rel=1e-6)
    np.testing.assert_allclose(forces[box.numbers != 6], truth.forces, atol=1e-6)
    assert not forces[box.numbers == 6].any()


def test_refusals(tmp_path, box, run_as_written):
    write_file(tmp_path, config())
    good = (tmp_path / "d3.json").read_text()

    def sealed(change) -> str:
        """The file with a change and a checksum that fits it."""
        content = json.loads(good)
        change(content)
        rest = json.dumps({key: x for key, x in content.items() if key not in ("kind", "format_version", "crc32")})
        rest = rest[1:] + "\n"
        head = {key: content[key] for key in ("kind", "format_version")} | {"crc32": f"{zlib.crc32(rest.encode()):08x}"}
        return json.dumps(head)[:-1] + ",\n" + rest

    assert sealed(lambda content: None) == good
    values = r"d3.json with values that cannot be used \(.*\); wanted a file of D3 by tl-export"
    for content, words in [
        ("", "got d3.json, missing or empty; wanted a file of D3"),
        (good[:-40], "got d3.json, damaged or another kind of file; wanted a file of D3"),
        ("{}\n", "got d3.json, damaged or another kind of file"),
        (good.replace("0.9118", "0.9128"), "got d3.json with checksum .*; wanted the one that it states"),
        (sealed(lambda c: c.update(format_version=2)), "got d3.json of format 2; wanted format 1 or older"),
        (sealed(lambda c: c.update(damping="d4")), values),
        (sealed(lambda c: c["parameters"].pop("rs6")), values),
        (sealed(lambda c: c["pairs"].pop()), values),
        (sealed(lambda c: c["pairs"][1]["c6_eV_A6"][0].pop()), values),
        (sealed(lambda c: c["elements"][0].update(reference_numbers=[])), values),
        (sealed(lambda c: c.update(cutoff_A=0.0)), values),
    ]:
        (tmp_path / "d3.json").write_text(content)
        assert re.search(words, run_as_written(deck(), ok=False).text)
    (tmp_path / "d3.json").write_text(good)
    for text, words in [
        (deck("every 0"), "pair_style d3: got 0 for every; wanted a whole number above zero"),
        (deck("tail"), "pair_style d3: got nothing for tail; wanted one of yes, no"),
        (deck("cutoff 3"), "pair_style d3: got keyword cutoff; wanted one of every, tail, masses"),
        (deck(types="O H N"), "pair_coeff for d3: got element N; wanted one that the file has: H C O"),
        (deck(types="O H"), "pair_coeff for d3: got 5 arguments; wanted"),
        (deck(types="H O C") + "run 0\n", "pair_style d3: got mass 15.999 for type 1, named H; wanted about 1.008"),
        (deck(units="lj") + "run 0\n", "pair_style d3: got units lj; wanted metal or real"),
        ("newton off\n" + deck() + "run 0\n", "pair_style d3: got newton off; wanted newton on"),
    ]:
        assert words in run_as_written(text, ok=False).text


def test_every_zero_damping_of_the_table(tmp_path):
    """Parameters that the table of tad-dftd3 lacks are found from energies of s-dftd3, as those that it has."""
    for functional in ("revpbe", "pbe", "b3-lyp"):
        given = d3_file.given_parameters(functional, "zero")
        found = d3_file.fitted_parameters(functional)
        assert found == pytest.approx({key: given[key] for key in found}) and set(found) == {"s6", "s8", "rs6"}
    assert d3_file.given_parameters("revpbe0", "zero") == {"s6": 1.0, "s8": 0.792, "rs6": 0.949}
    assert d3_file.fitted_parameters("nothing") == {}
