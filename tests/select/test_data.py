"""tl-data: what it says of frames whose properties are known, and what it finds wrong in them."""

import json
import sys

import numpy as np
import pytest

from tlmd.data.data import data
from tlmd.data.summary import JSON_KEYS, far_from_median, summary
from tlmd.frames.extxyz import write_frames
from tlmd.frames.frame import Frame
from tlmd.run.errors import InputError

ATOM = {1: -13.0, 8: -430.0}


def waters(n: int) -> list[Frame]:
    """One or two waters in boxes of two sizes, energies of atoms and a little noise."""
    rng, found = np.random.default_rng(4), []
    molecule = np.array([[0, 0, 0], [0.8, 0.6, 0], [-0.8, 0.6, 0]])
    for k in range(n):
        count = 1 + k % 2
        sites = np.vstack([molecule, molecule + np.array([2.6, 2.4, 2.5])][:count])
        sites = sites + rng.normal(0, 0.02, sites.shape)
        numbers = np.array([8, 1, 1] * count)
        energy = sum(ATOM[z] for z in numbers) + rng.normal(0, 0.003) * len(numbers)
        stress = np.eye(3) * rng.normal(0.002, 0.0003)
        forces = rng.normal(0, 0.5, sites.shape)
        info = {"temperature_K": 300.0 + k, "source": f"run {k % 3}"}
        found.append(Frame(numbers, sites, np.eye(3) * 5.2, np.ones(3, bool), energy, forces, stress, info))
    return found


@pytest.fixture
def files(tmp_path):
    frames = waters(30)
    write_frames(tmp_path / "a.extxyz", frames[:20])
    write_frames(tmp_path / "b.extxyz", [*frames[20:29], frames[29].replace(forces=None)])
    return [tmp_path / "a.extxyz", tmp_path / "b.extxyz"]


def test_the_numbers(files):
    found = summary(files).to_json()
    assert list(found) == list(JSON_KEYS["tl-data"]) and json.dumps(found)
    assert found["n_frames"] == 30 and found["files"] == {str(files[0]): 20, str(files[1]): 10}
    assert found["compositions"] == {"H2O": 15, "H4O2": 15}
    assert found["labels"] == {"energy": 30, "forces": 29, "stress": 30}
    assert 2 * found["references"]["H"] + found["references"]["O"] == pytest.approx(-456.0, abs=0.01)
    assert 2 < found["energy_spread_mev_per_atom"] < 4
    frames = waters(30)
    pressures = [-np.trace(frame.stress) / 3 * 1602176.634 for frame in frames]
    assert found["ranges"]["pressure of the labels"]["smallest"] == pytest.approx(min(pressures), abs=1e-3)
    largest = max(np.linalg.norm(frame.forces, axis=1).max() for frame in frames[:29])
    assert found["ranges"]["largest force"]["largest"] == pytest.approx(largest, abs=1e-6)
    atoms = [(f.positions, o) for f in frames for o in range(0, len(f), 3)]
    bonds = [np.linalg.norm(sites[o + h] - sites[o]) for sites, o in atoms for h in (1, 2)]
    assert found["shortest_A"]["H-O"] == pytest.approx(min(bonds), abs=1.1e-4)  # four digits, rounded down
    assert found["info"] == {"temperature_K": [300.0, 329.0], "source": 3}
    assert found["duplicates"] == [] == found["outliers"] and found["refusal"] is None


def test_what_is_wrong_is_found(tmp_path):
    """A wrong energy, a wild force, two atoms that nearly meet, and a copy; each with its reason."""
    frames = waters(30)
    frames[4] = frames[4].replace(energy=frames[4].energy + 2.0)
    frames[7] = frames[7].replace(forces=frames[7].forces * 60)
    squeezed = frames[9].positions.copy()
    squeezed[1] = squeezed[0] + [0.45, 0.2, 0]
    frames[9] = frames[9].replace(positions=squeezed)
    write_frames(tmp_path / "a.extxyz", [*frames, frames[12]])
    found = summary([tmp_path / "a.extxyz"]).to_json()
    reasons = {entry["index"]: "; ".join(entry["reasons"]) for entry in found["outliers"]}
    assert set(reasons) == {4, 7, 9}
    assert "energy over the references" in reasons[4] and "eV/atom, median" in reasons[4]
    assert "largest force" in reasons[7] and "H-O at 0.492 A, median" in reasons[9]
    assert found["duplicates"] == [[12, 30]]
    assert "a force of" in found["refusal"] or "duplicate" in found["refusal"]


def test_outliers_by_the_median():
    values = np.concatenate([np.random.default_rng(0).normal(size=50), [9.0, -9.0, np.nan]])
    assert far_from_median(values) == [50, 51] and far_from_median(values, both=False) == [50]
    assert far_from_median(values[-9:]) == [] and far_from_median(np.ones(50)) == []


def test_the_command(files, tmp_path, capsys):
    found = data(files, "water-spcfw-f64", tmp_path / "d.json", tmp_path / "d.png")
    out = capsys.readouterr().out
    written = json.loads((tmp_path / "d.json").read_text())
    assert written["model"]["name"] == "water-spcfw-f64" and written["model"]["largest_nearest"] > 0
    assert (tmp_path / "d.png").stat().st_size > 5000 and len(found.frames) == 30
    for words in (
        "30 frames",
        "labels missing: forces (1 of 30)",
        "nearest distances: ",
        "duplicates: 0",
        "features of",
    ):
        assert words in out
    with pytest.raises(InputError, match="element O; wanted those of|element"):
        write_frames(tmp_path / "c.extxyz", [waters(1)[0].replace(numbers=np.array([16, 1, 1]))])
        data([tmp_path / "c.extxyz"], "water-spcfw-f64")
    with pytest.raises(InputError, match="as output"):
        data(files, json_path=files[0])


def test_chemiscope(files, tmp_path, monkeypatch):
    """Written where it is installed; otherwise it is named."""
    try:
        import chemiscope  # noqa: F401
    except ImportError:
        with pytest.raises(InputError, match=r"--chemiscope without the package chemiscope; .*tlmd\[chemiscope\]"):
            data(files, chemiscope_path=tmp_path / "c.json.gz")
        return
    data(files, chemiscope_path=tmp_path / "c.json.gz")
    import gzip

    content = json.loads(gzip.decompress((tmp_path / "c.json.gz").read_bytes()))
    assert len(content["structures"]) == 30 and len(content["properties"]["largest_force"]["values"]) == 30
    monkeypatch.setitem(sys.modules, "chemiscope", None)
    with pytest.raises(InputError, match="without the package chemiscope"):
        data(files, chemiscope_path=tmp_path / "d.json")
