"""Dumps and logs: written by the real lmp, written by hand, damaged, and of different runs."""

import gzip
import lzma
import subprocess
from pathlib import Path

import numpy as np
import pytest

from tlmd.analysis.simulation import mean_temperature
from tlmd.analysis.thermo import frame_times, match, read_log
from tlmd.analysis.trajectory import read_dump, unwrap
from tlmd.run.errors import InputError
from tlmd.units import EV_PER_KCAL_MOL

DATA = Path(__file__).parents[1] / "data"

# A hot Lennard-Jones gas whose atoms cross the boundaries; one run, dumped in every form that is read.
DECK = """
log run.log
units metal
lattice fcc 5.3
region box {region}
create_box 2 box
create_atoms 1 box
set type 1 type/fraction 2 0.3 7
mass 1 39.948
mass 2 83.798
pair_style lj/cut 5.0
pair_coeff * * 0.001 3.0
velocity all create 3000 5
timestep 0.002
fix 1 all {ensemble}
thermo 50
thermo_style custom step temp press vol density pe
dump a all custom 50 unwrapped.dump id type element xu yu zu
dump b all custom 50 images.dump.gz id type x y z ix iy iz
dump c all custom 10 wrapped.dump id type mass x y z
dump d all custom 50 scaled.dump id type xs ys zs ix iy iz
dump e all custom 50 scaled_unwrapped.dump id type xsu ysu zsu
dump_modify a element Ar Kr units yes time yes format float %20.14g
dump_modify b format float %20.14g
dump_modify c format float %20.14g
dump_modify d format float %20.14g
dump_modify e format float %20.14g
run 1500
run 500
"""
REGIONS = {"orthogonal": "block 0 2 0 2 0 3", "triclinic": "prism 0 2 0 2 0 3 0.7 -0.5 0.9"}


@pytest.fixture(scope="module", params=sorted(REGIONS))
def gas(request, tmp_path_factory):
    """Folder of an NVE run in an orthogonal and in a triclinic box."""
    folder = tmp_path_factory.mktemp(request.param)
    (folder / "in.lmp").write_text(DECK.format(region=REGIONS[request.param], ensemble="nve"))
    subprocess.run(["lmp", "-in", "in.lmp", "-log", "none", "-screen", "none"], cwd=folder, check=True, timeout=120)
    return folder


def test_every_form_of_dump_gives_the_same_trajectory(gas):
    truth = read_dump(gas / "unwrapped.dump")
    box = np.diagonal(truth.cells[0])
    assert truth.positions.shape == (41, 48, 3)
    assert np.ptp(truth.positions, axis=0).max() > 1.3 * box.max()  # atoms have crossed the box
    assert sorted(set(truth.species.tolist())) == ["Ar", "Kr"]
    assert truth.masses == pytest.approx(np.where(truth.species == "Ar", 39.948, 83.798), abs=0.01)
    for name in ("images.dump.gz", "wrapped.dump", "scaled.dump", "scaled_unwrapped.dump"):
        other = read_dump(gas / name, ["Ar", "Kr"])
        kept = np.isin(other.steps, truth.steps)
        shift = other.positions[kept] - truth.positions
        assert np.array_equal(other.steps[kept], truth.steps)
        assert shift == pytest.approx(np.broadcast_to(shift[:1], shift.shape), abs=1e-6), name  # unwrapped alike
        assert other.species.tolist() == truth.species.tolist()
        assert other.cells[kept] == pytest.approx(truth.cells, abs=1e-9)


def test_log_and_dump_belong_together(gas):
    trajectory, log = read_dump(gas / "unwrapped.dump"), read_log(gas / "run.log")
    assert log.units == "metal"
    assert [len(run.steps) for run in log.runs] == [31, 11]
    run = match(trajectory, log)
    assert np.array_equal(run.steps, np.arange(0, 2001, 50))
    assert run.timestep_fs == 2.0
    assert run.volumes()[0] == pytest.approx(trajectory.volumes[0], rel=1e-6)
    assert frame_times(trajectory, 0.0) == pytest.approx(run.steps * 2.0)  # from ITEM: TIME
    assert frame_times(read_dump(gas / "images.dump.gz"), 2.0) == pytest.approx(run.steps * 2.0)
    assert mean_temperature(run).value == pytest.approx(np.mean(run.columns["Temp"]))


def test_unwrapping_at_constant_pressure_does_not_add_volume_changes():
    """An atom that rests in the fluctuating box it has crossed ten times stays where it is."""
    rng = np.random.default_rng(3)
    edges = 10 + rng.normal(scale=0.1, size=200)
    cells = edges[:, None, None] * np.eye(3)
    fractional = np.array([0.25, 0.5, 0.75])
    images = np.full(3, 10)
    positions = (fractional + images) * edges[:, None]  # what xu yu zu are
    result = unwrap(positions[:, None, :], cells, np.array([True] * 3))[:, 0]
    assert np.ptp(positions, axis=0).min() > 4
    assert np.abs(result - fractional * 10).max() < 0.75 * np.ptp(edges) + 0.2


def test_wrapped_frames_too_far_apart_are_refused():
    rng = np.random.default_rng(3)
    with pytest.raises(InputError, match=r"move 0\.2\d box lengths between frames; .*dump more often"):
        unwrap(10 * rng.random((50, 20, 3)), np.repeat(10 * np.eye(3)[None], 50, axis=0), np.array([True] * 3))


def frame(step, rows, columns="id type x y z", bounds="0 10\n0 10\n0 10\n", flags="pp pp pp"):
    body = "".join(f"{row}\n" for row in rows)
    return (
        f"ITEM: TIMESTEP\n{step}\nITEM: NUMBER OF ATOMS\n{len(rows)}\n"
        f"ITEM: BOX BOUNDS {flags}\n{bounds}ITEM: ATOMS {columns}\n{body}"
    )


TWO = ["2 1 4 5 6", "1 2 1 2 3"]


def write(folder, text, name="some.dump"):
    path = folder / name
    path.write_text(text)
    return path


def test_atoms_are_sorted_by_id_and_box_origin_is_subtracted(tmp_path):
    bounds = "-1 9\n-2 8\n-3 7\n"
    trajectory = read_dump(write(tmp_path, frame(0, TWO, bounds=bounds) + frame(5, TWO[::-1], bounds=bounds)))
    assert trajectory.positions[:, 0] == pytest.approx(np.array([[2, 4, 6]] * 2))
    assert trajectory.species.tolist() == ["2", "1"]
    assert trajectory.masses is None
    assert trajectory.units is None
    assert trajectory.steps.tolist() == [0, 5]


def test_triclinic_bounds_are_undone(tmp_path):
    """xlo_bound = xlo + min(0, xy, xz, xy+xz) and so on (LAMMPS Howto_triclinic)."""
    text = frame(0, TWO, bounds="-1 13 2\n-3 10 -1\n-2 8 -3\n", flags="xy xz yz pp pp pp")
    trajectory = read_dump(write(tmp_path, text))
    assert trajectory.cells[0] == pytest.approx(np.array([[11.0, 0, 0], [2.0, 10.0, 0], [-1.0, -3.0, 10.0]]))


@pytest.mark.parametrize("cut", [17, 40, 90, 118, -1])
def test_a_frame_cut_short_is_dropped_with_a_warning(tmp_path, cut):
    whole, last = frame(0, TWO) + frame(1, TWO), frame(2, TWO)
    assert cut < len(last)
    with pytest.warns(UserWarning, match=r"some\.dump: the last frame is incomplete and is left out"):
        trajectory = read_dump(write(tmp_path, whole + last[:cut]))
    assert trajectory.steps.tolist() == [0, 1]


def test_a_compressed_dump_cut_short_is_read(tmp_path):
    text = "".join(frame(step, TWO) for step in range(2000))
    for name, compress in (("cut.dump.gz", gzip.compress), ("cut.dump.xz", lzma.compress)):
        packed = compress(text.encode())
        path = tmp_path / name
        path.write_bytes(packed[: 3 * len(packed) // 4])
        with pytest.warns(UserWarning, match="the last frame is incomplete"):
            trajectory = read_dump(path)
        assert 10 < len(trajectory.steps) < 2000


def test_a_frame_written_twice_by_a_restart_is_kept_once(tmp_path):
    moved = ["2 1 4 5 6.5", "1 2 1 2 3"]
    trajectory = read_dump(write(tmp_path, frame(0, TWO) + frame(5, TWO) + frame(5, moved) + frame(10, moved)))
    assert trajectory.steps.tolist() == [0, 5, 10]
    assert trajectory.positions[1, 1, 2] == 6.5


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "without a complete frame; wanted a LAMMPS text dump"),
        ("Step Temp\n0 1\n", r"line 'Step Temp'; wanted a LAMMPS text dump"),
        (
            frame(0, TWO, columns="id type vx vy vz"),
            r"columns id type vx vy vz; wanted id, type or element, and xu yu zu",
        ),
        (frame(0, ["1 1 a b c"]), r"step 0: .*; wanted numbers in every column"),
        (frame(0, TWO) + frame(1, [TWO[0], "1 2 nan 2 3"]), "nan or inf at step 1; wanted finite positions"),
        (frame(0, TWO) + frame(1, TWO[:1]), r"1 atoms, .* at step 1; wanted 2 atoms"),
        (frame(0, TWO) + frame(1, [TWO[0], "3 2 1 2 3"]), "other atom ids at step 1; wanted the same atoms"),
        (frame(5, TWO) + frame(0, TWO), "step 0 after step 5; wanted increasing steps"),
        (frame(0, TWO, flags="abc origin pp pp pp"), "a general triclinic box; wanted orthogonal"),
        ("ITEM: UNITS\nlj\n" + frame(0, TWO), "units lj; wanted metal or real"),
        (frame("x", TWO), "under ITEM: TIMESTEP; wanted numbers"),
    ],
)
def test_bad_dumps_are_refused(tmp_path, text, words):
    with pytest.raises(InputError, match=words):
        read_dump(write(tmp_path, text))


def test_bad_element_lists_are_refused(tmp_path):
    path = write(tmp_path, frame(0, TWO))
    assert read_dump(path, ["H", "O"]).species.tolist() == ["O", "H"]
    assert read_dump(path, ["H", "O"]).masses == pytest.approx([15.999, 1.008])
    with pytest.raises(InputError, match="got 1 elements; wanted one for each of 2 types"):
        read_dump(path, ["O"])
    with pytest.raises(InputError, match=r"got element Hx \(did you mean 'H.?'\?\)"):
        read_dump(path, ["O", "Hx"])


LOG = """LAMMPS (22 Jul 2025)
units           real
timestep        ${dt}
timestep        0.5
thermo_style custom step temp press pe vol
   Step          Temp          Press         PotEng         Volume
         0   300.0   10.0  -1.0   1000.0
WARNING: something between the rows (src/x.cpp:1)
        10   310.0   20.0  -2.0   1000.0
Loop time of 0.1 on 1 procs for 10 steps with 2 atoms
   Step          Temp          Press         PotEng         Volume
        10   310.0   20.0  -2.0   1000.0
        20   320.0   30.0  -3.0   1000.0
Loop time of 0.1 on 1 procs for 10 steps with 2 atoms
"""


def test_log_tables_are_converted_from_real_units(tmp_path):
    log = read_log(write(tmp_path, LOG, "some.log"))
    assert [run.steps.tolist() for run in log.runs] == [[0, 10], [10, 20]]
    assert [run.n_atoms for run in log.runs] == [2, 2]
    (chain,) = log.chains()
    assert chain.steps.tolist() == [0, 10, 20]
    assert chain.columns["Press"] == pytest.approx(np.array([10, 20, 30]) * 1.01325)
    assert chain.columns["PotEng"] == pytest.approx(np.array([-1, -2, -3]) * EV_PER_KCAL_MOL)
    assert chain.timestep_fs == 0.5


def test_time_step_from_the_time_column_or_the_default(tmp_path):
    table = "units metal\nStep Time Temp\n0 0 300\n100 0.05 300\n"
    assert read_log(write(tmp_path, table)).runs[0].timestep_fs == pytest.approx(0.5)
    table = "units metal\nStep Temp\n0 300\n100 300\n"
    assert read_log(write(tmp_path, table)).runs[0].timestep_fs == 1.0
    with pytest.raises(InputError, match=r"no time step; wanted a `timestep` line or a Time column"):
        read_log(write(tmp_path, "read_restart a\n" + table))


def test_runs_of_different_time_steps_are_not_one(tmp_path):
    """A dump over both would not be even in time."""
    cut = LOG.rindex("   Step")
    log = read_log(write(tmp_path, LOG[:cut] + "timestep 1.0\n" + LOG[cut:], "some.log"))
    assert [chain.timestep_fs for chain in log.chains()] == [0.5, 1.0]
    with pytest.raises(InputError, match="steps 0-20 in the dump, 0-10, 10-20 in the log"):
        match(read_dump(write(tmp_path, frame(0, TWO) + frame(20, TWO))), log)
    assert match(read_dump(write(tmp_path, frame(10, TWO) + frame(20, TWO))), log).timestep_fs == 1.0


def test_a_log_of_a_killed_run_is_read(tmp_path):
    log = read_log(write(tmp_path, LOG[: LOG.rindex("-3.0")]))  # cut inside the last row
    assert log.runs[-1].steps.tolist() == [10]
    assert not log.runs[-1].finished
    trajectory = read_dump(write(tmp_path, "".join(frame(step, TWO) for step in (10, 20, 30)), "ahead.dump"))
    assert match(trajectory, log).steps.tolist() == [10]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("units real\n", "without a thermo table; wanted a LAMMPS log"),
        ("Step Temp\n0 1\n", "units None; wanted metal or real"),
        ("units lj\nStep Temp\n0 1\n", "units lj; wanted metal or real"),
    ],
)
def test_bad_logs_are_refused(tmp_path, text, words):
    with pytest.raises(InputError, match=words):
        read_log(write(tmp_path, text))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (frame(0, TWO) + frame(40, TWO), r"steps 0-40 in the dump, 0-20 in the log; wanted one run; give the dump and"),
        (frame(0, [*TWO, "3 1 1 1 1"]), "3 atoms in the dump, 2 in the log; wanted one run"),
        (frame(0, TWO, bounds="0 10\n0 10\n0 11\n"), r"box volumes that differ by 9\.1 %; wanted one run"),
        (
            f"ITEM: UNITS\nreal\nITEM: TIME\n0\n{frame(0, TWO)}ITEM: TIME\n20\n{frame(10, TWO)}",
            "time step 2 fs in the dump, 0.5 fs in the log; wanted one run",
        ),
    ],
)
def test_dump_and_log_of_different_runs_are_refused(tmp_path, text, words):
    log = read_log(write(tmp_path, LOG, "some.log"))
    with pytest.raises(InputError, match=words):
        match(read_dump(write(tmp_path, text)), log)


def test_after_a_reset_of_steps_the_box_tells_which_run(tmp_path):
    """Steps 0-20 twice in one log, in boxes of 1000 and 1331 A^3."""
    second = LOG.replace("1000.0", "1331.0").replace("300.0", "400.0").replace("320.0", "420.0")
    log = read_log(write(tmp_path, LOG + second, "some.log"))
    assert len(log.chains()) == 2
    small = read_dump(write(tmp_path, frame(0, TWO)))
    large = read_dump(write(tmp_path, frame(0, TWO, bounds="0 11\n0 11\n0 11\n")))
    assert match(small, log).columns["Temp"].tolist() == [300.0]
    assert match(large, log).columns["Temp"].tolist() == [400.0]


def test_the_water_run_reads():
    trajectory, log = read_dump(DATA / "spcfw64.dump.xz"), read_log(DATA / "spcfw64.log.xz")
    assert trajectory.positions.shape == (160, 192, 3)
    assert trajectory.species[:3].tolist() == ["O", "H", "H"]
    run = match(trajectory, log)
    assert (run.timestep_fs, run.n_atoms) == (1.0, 192)
    assert mean_temperature(run).value == pytest.approx(298, abs=4)
