"""Choosing frames: what each method must do, in the numbers of small pools; the command from end to end."""

import json

import numpy as np
import pytest

from tlmd.frames.extxyz import iterate_extxyz, write_frames
from tlmd.frames.frame import Frame
from tlmd.frames.read import read_frames
from tlmd.run.config import load_config
from tlmd.run.errors import InputError
from tlmd.run.installed import SHIPPED
from tlmd.select.choose import Distances, Information, choose, strata_of
from tlmd.select.config import SelectConfig
from tlmd.select.features import Describer, Pool, describe_files, save
from tlmd.select.select import select

MODEL = "water-spcfw-f64"
MODEL_FILE = SHIPPED[MODEL]


def pool_of(path, points: np.ndarray, rows: np.ndarray | None = None, piece: int = 7) -> Pool:
    """A pool whose descriptors are `points` (n, d) as means, with spreads of one; in several pieces."""
    path.mkdir()
    pieces = []
    for k, start in enumerate(range(0, len(points), piece)):
        part = points[start : start + piece]
        own = np.zeros((len(part), 0, 1)) if rows is None else rows[start : start + piece]
        save(path / f"{k}.npz", {"descriptor": np.hstack([part, np.ones_like(part)]), "rows": own})
        pieces.append(path / f"{k}.npz")
    return Pool(pieces, list(range(0, len(points), piece)), np.zeros(len(points), int), np.arange(len(points)), {})


def one_stratum(pool: Pool) -> np.ndarray:
    return np.zeros(len(pool), dtype=int)


def test_farthest_points_are_the_corners(tmp_path):
    """A square full of points: after its first, the choice takes the corners, each the farthest from all before."""
    grid = np.stack(np.meshgrid(*[np.linspace(0, 1, 9)] * 2), -1).reshape(-1, 2)
    pool = pool_of(tmp_path / "p", grid)
    found = choose(Distances(pool), None, 6, "farthest", one_stratum(pool), 0.01, seed=3)
    corners = {tuple(grid[i]) for i in found.chosen[1:5]} & {(0.0, 0.0), (0.0, 1.0), (1.0, 0.0), (1.0, 1.0)}
    assert len(corners) >= 3
    scale = np.linalg.norm(grid[:, None] - grid, axis=-1)
    units = scale / np.sqrt((scale**2).mean())  # 1: the rms distance of two frames
    for k in range(1, 6):
        nearest = units[:, found.chosen[:k]].min(axis=1)
        assert found.distances[k] == pytest.approx(nearest.max(), rel=1e-6)
        assert nearest[found.chosen[k]] == pytest.approx(nearest.max(), rel=1e-6)


def test_labelled_frames_are_not_chosen_again_nor_what_is_near_them(tmp_path):
    points = np.linspace(0, 1, 21)[:, None] * [1.0, 0.3]
    pool, known = pool_of(tmp_path / "p", points), pool_of(tmp_path / "k", points[:4])
    found = choose(Distances(pool), known, 20, "farthest", one_stratum(pool), 0.3, seed=1)
    assert found.chosen[0] == 20 and not {0, 1, 2, 3, 4, 5} & set(found.chosen)  # 0.3: 2.5 steps
    assert min(np.diff(sorted(found.chosen))) >= 2 and len(found.chosen) < 20
    for method in ("random", "farthest"):
        with pytest.raises(InputError, match="no frame of the pool that differs from the excluded ones"):
            choose(Distances(pool), pool, 2, method, one_stratum(pool), 0.3, seed=1)


def test_d_optimal_takes_what_adds_most_to_the_determinant(tmp_path):
    """Greedy by brute force: log det of the sums of the rows."""
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(30, 3, 4)) * rng.uniform(0.2, 2, (30, 1, 1))
    pool = pool_of(tmp_path / "p", rng.normal(size=(30, 2)), rows)
    found = choose(Distances(pool), None, 5, "d-optimal", one_stratum(pool), 0.0, seed=1)
    matrix = Information(pool, None).matrix
    for i in found.chosen:
        gains = [np.linalg.slogdet(matrix + r.T @ r)[1] for r in rows]
        order = [k for k in np.argsort(gains)[::-1] if k not in found.chosen[: found.chosen.index(i)]]
        assert order[0] == i
        matrix = matrix + rows[i].T @ rows[i]


@pytest.mark.parametrize("method", ["farthest", "random"])
def test_strata_get_equally_many(tmp_path, method):
    """20 frames near 300 K, 4 at 500 K, one without a temperature; its range or words; a stratum that runs out."""
    temperatures = np.array([300.0 + k % 5 for k in range(20)] + [500.0] * 4 + [np.nan])
    strata, names = strata_of({"temperature_K": temperatures, "kind": np.array(["a"] * 25)}, 2, 25)
    assert names == [
        "temperature_K 300 to 400, kind a",
        "temperature_K 400 to 500, kind a",
        "temperature_K unknown, kind a",
    ]
    pool = pool_of(tmp_path / "p", np.random.default_rng(1).normal(size=(25, 2)))
    for n, expected in ((6, [2, 3, 1]), (12, [7, 4, 1])):
        found = choose(Distances(pool), None, n, method, strata, 0.0, seed=1)
        counts = np.bincount(strata[found.chosen], minlength=3)
        assert list(counts) == expected or (n == 6 and list(counts) == [3, 2, 1])
        assert choose(Distances(pool), None, n, method, strata, 0.0, seed=1).chosen == found.chosen
    with pytest.raises(InputError, match=r'balance = \["pressure"\], which no frame has'):
        strata_of({"pressure": np.full(3, np.nan)}, 2, 3)


def waters(n: int, seed: int = 0) -> list[Frame]:
    """Small boxes of two waters, hotter and hotter, with labels that must not be handed on."""
    rng, found = np.random.default_rng(seed), []
    molecule = np.array([[0, 0, 0], [0.8, 0.6, 0], [-0.8, 0.6, 0]])
    for k in range(n):
        sites = np.vstack([molecule, molecule + np.array([2.6, 2.4, 2.5])]) + rng.normal(0, 0.02 + 0.002 * k, (6, 3))
        info = {"temperature_K": 300 + 10 * k, "source": f"run {k // 4}"}
        found.append(
            Frame(np.array([8, 1, 1] * 2), sites, np.eye(3) * 5.2, np.ones(3, bool), -1.0, sites * 0, None, info)
        )
    return found


def turned(frame: Frame) -> Frame:
    """The same frame with its axes and its atoms in another order: no new frame."""
    order = [3, 4, 5, 0, 1, 2]
    return frame.replace(numbers=frame.numbers[order], positions=frame.positions[order][:, [1, 2, 0]], forces=None)


def test_descriptors_are_invariant_and_rows_are_derivatives():
    describer, frame = Describer(MODEL_FILE, [-1], directions=4), waters(3)[2]
    row = describer.describe(frame, 7)
    np.testing.assert_allclose(describer.describe(turned(frame)).descriptor, row.descriptor, atol=1e-5)
    moves = np.random.default_rng((1, 7)).normal(size=(4, 6, 3)) / 2
    ahead, behind = (
        np.array([describer.describe(frame.replace(positions=frame.positions + h * m)).rows[0] for m in moves])
        for h in (2e-3, -2e-3)
    )
    np.testing.assert_allclose(row.rows[1:], (ahead - behind) / 4e-3, atol=2e-2 * np.abs(row.rows[1:]).max())


def write_toml(folder, **more) -> None:
    keys = {"pool": ["pool.extxyz", "other.extxyz"], "model": MODEL, "n_frames": 5} | more
    (folder / "select.toml").write_text("".join(f"{key} = {json.dumps(value)}\n" for key, value in keys.items()))


@pytest.fixture
def folder(tmp_path):
    frames = waters(14)
    write_frames(tmp_path / "pool.extxyz", [*frames[:10], turned(frames[2])])
    write_frames(tmp_path / "other.extxyz", frames[10:])
    write_frames(tmp_path / "known.extxyz", [turned(frames[13])])
    return tmp_path


@pytest.mark.parametrize("method", ["farthest", "d-optimal", "random"])
def test_the_command(folder, method):
    write_toml(folder, method=method, exclude=["known.extxyz"], balance=["temperature_K"], bins=2)
    config = load_config(SelectConfig, folder / "select.toml")
    found = select(config, folder / "a")
    chosen = read_frames(folder / "a" / "selected.extxyz")
    notes = json.loads((folder / "a" / "selection.json").read_text())
    assert len(chosen) == len(notes["frames"]) == 5 and (folder / "a" / "coverage.png").stat().st_size > 1000
    for frame, note in zip(chosen, notes["frames"], strict=True):
        file = note["file"].rsplit("/", 1)[1]
        origin = read_frames(folder / file)[note["index"]]
        assert frame.info["pool_file"] == file and frame.info["pool_index"] == note["index"]
        np.testing.assert_allclose(frame.positions, origin.positions, atol=1e-8)
        assert not frame.labelled and frame.info["source"] == origin.info["source"]
        assert (file, note["index"]) != ("other.extxyz", 3)  # labelled already, though turned
    pairs = {(note["file"].rsplit("/", 1)[1], note["index"]) for note in notes["frames"]}
    assert len(pairs & {("pool.extxyz", 2), ("pool.extxyz", 10)}) < 2  # one frame
    assert sorted(count for _, _, count in found.coverage.strata) == [2, 3]
    assert select(config, folder / "a") is None  # finished
    select(config, folder / "b")
    for name in ("selected.extxyz", "selection.json"):
        assert (folder / "a" / name).read_bytes() == (folder / "b" / name).read_bytes()


def test_a_killed_run_goes_on(folder, monkeypatch):
    """Numbers that are on disk are not computed again; damaged ones never pass for whole."""
    write_toml(folder)
    config = load_config(SelectConfig, folder / "select.toml")
    calls, describe = [], Describer.describe

    def counted(self, frame, index=0):
        calls.append(index)
        if len(calls) == 13:
            raise KeyboardInterrupt
        return describe(self, frame, index)

    monkeypatch.setattr(Describer, "describe", counted)
    with pytest.raises(KeyboardInterrupt):
        select(config, folder / "a")
    assert len(select(config, folder / "a").frames) == 5
    assert len(calls) == 13 + 4  # the second file again, the first not


def test_what_does_not_fit_is_refused(folder):
    sulphur = [frame.replace(numbers=np.array([16, 1, 1, 8, 1, 1])) for frame in waters(2)]
    write_frames(folder / "sulphur.extxyz", sulphur)
    for more, words in (
        ({"balance": ["pressure_bar"]}, "which no frame has"),
        ({"layers": [7]}, "some of 0 to"),
        ({"pool": ["sulphur.extxyz"]}, r"sulphur\.extxyz, frames 0 to 1: .*S"),
        ({"pool": ["nothing.extxyz"]}, "no file"),
    ):
        write_toml(folder, **more)
        with pytest.raises(InputError, match=words):
            select(load_config(SelectConfig, folder / "select.toml"), folder / "a")
        assert not list(folder.glob("a/parts/*/*"))  # before anything is computed, so that a corrected TOML is taken


def test_frames_are_read_one_after_the_other(tmp_path):
    """A file that is broken at its end gives all frames before it."""
    write_frames(tmp_path / "a.extxyz", waters(3))
    with open(tmp_path / "a.extxyz", "a") as file:
        file.write("6\nhalf of a frame\nO 0 0 0\n")
    frames = iterate_extxyz(tmp_path / "a.extxyz")
    assert [next(frames).info["temperature_K"] for _ in range(3)] == [300, 310, 320]
    with pytest.raises(InputError, match=r"a\.extxyz, frame 3: 1 of 6 atoms"):
        next(frames)


def test_pieces(tmp_path, monkeypatch):
    """The same numbers in one piece or in many."""
    write_frames(tmp_path / "a.extxyz", waters(5))
    whole = describe_files(
        [tmp_path / "a.extxyz"], read_frames, Describer(MODEL_FILE, [-1]), tmp_path / "x", ["source"]
    )
    monkeypatch.setattr("tlmd.select.features.PIECE", 2)
    parts = describe_files([tmp_path / "a.extxyz"], read_frames, Describer(MODEL_FILE, [-1]), tmp_path / "y")
    assert len(whole.pieces) == 1 and len(parts.pieces) == 3 and len(parts) == 5
    np.testing.assert_array_equal(
        np.concatenate(list(whole.each("descriptor"))), np.concatenate(list(parts.each("descriptor")))
    )
    np.testing.assert_array_equal(parts.take("descriptor", 4), next(whole.each("descriptor"))[4])
    assert list(whole.keys["source"]) == ["run 0"] * 4 + ["run 1"]
