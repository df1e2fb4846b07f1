"""QM9: the published format, an interrupted download, what is left out, refusals."""

import hashlib
import io
import sys
import tarfile
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest

from tlmd.cli import entry
from tlmd.frames import qm9
from tlmd.frames.read import read_frames
from tlmd.frames.references import isolated_atoms
from tlmd.run.errors import InputError
from tlmd.units import EV_PER_HARTREE

METHANE = """5
gdb 1\t157.7118\t157.70997\t157.70699\t0.\t13.21\t-0.3877\t0.1171\t0.5048\t35.3641\t0.044749\t-40.47893\t-40.476062\t-40.475117\t-40.498597\t6.469\t
C\t-0.0126981359\t 1.0858041578\t 0.0080009958\t-0.535689
H\t 0.0021504160\t-0.0060313176\t 0.0019761204\t 0.133921
H\t 1.0117308433\t 1.4637511618\t 2.1*^-6\t 0.133922
H\t-0.5408150690\t 1.4475266138\t-0.8766437152\t 0.133923
H\t-0.5238136345\t 1.4379326443\t 0.9063972942\t 0.133923
1341.307\t1341.3284\t1341.365\t1562.6731\t1562.7453\t3038.3205\t3151.6034\t3151.6788\t3151.7078
C\tC\t
InChI=1S/CH4/h1H4\tInChI=1S/CH4/h1H4
"""  # noqa: E501
AMMONIA = """4
gdb 2\t293.60975\t293.54111\t191.39397\t1.6256\t9.46\t-0.257\t0.0829\t0.3399\t26.1563\t0.034358\t-56.525887\t-56.523026\t-56.522082\t-56.544961\t6.316\t
N\t-0.0404260543\t 1.0241077531\t 0.0625637998\t-0.707143
H\t 0.0172574639\t 0.0125452063\t-0.0273771593\t 0.235712
H\t 0.9157893661\t 1.3587451948\t-0.0287577581\t 0.235712
H\t-0.5202777357\t 1.3435321258\t-0.7755426124\t 0.235713
1103.8733\t1684.1158\t1684.3072\t3458.7145\t3579.5577\t3579.6033
N\tN\t
InChI=1S/H3N/h1H3\tInChI=1S/H3N/h1H3
"""  # noqa: E501
WATER = AMMONIA.replace("gdb 2", "gdb 3")
ATOMS = """
=======================
  Ele-    ZPVE         U (0 K)      U (298.15 K)    H (298.15 K)    G (298.15 K)     CV
  ment   Hartree       Hartree        Hartree         Hartree         Hartree        Cal/(Mol Kelvin)
=======================
   H     0.000000     -0.500273      -0.498857       -0.497912       -0.510927       2.981
   C     0.000000    -37.846772     -37.845355      -37.844411      -37.861317       2.981
   N     0.000000    -54.583861     -54.582445      -54.581501      -54.598897       2.981
=======================
"""
BAD = """
3 molecules that changed
=======================
 Index   SMILES of GDB    SMILES found
=======================
    3    N     [NH3+]C#[N+]    12.5
=======================
"""


def archive(*molecules: str) -> bytes:
    """A tar.bz2 with one file for each molecule."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:bz2") as tar:
        for k, text in enumerate(molecules):
            member = tarfile.TarInfo(f"dsgdb9nsd_{k + 1:06d}.xyz")
            member.size = len(text.encode())
            tar.addfile(member, io.BytesIO(text.encode()))
    return packed.getvalue()


class Server:
    """Serves `files` (number: bytes) with ranges; `asked` holds the range of each; hangs up at byte `limit`."""

    def __init__(self, files: dict[int, bytes], ranges: bool = True, limit: int | None = None):
        self.asked = asked = []

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                data = files[int(self.path.rsplit("/", 1)[-1])]
                wanted = self.headers.get("Range")
                asked.append(wanted)
                start = int(wanted.removeprefix("bytes=").rstrip("-")) if wanted and ranges else 0
                self.send_response(206 if start else 200)
                self.send_header("Content-Length", str(len(data) - start))
                self.end_headers()
                self.wfile.write(data[start:limit])

            def log_message(self, *args):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True).start()

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()


FILES = {1: archive(METHANE, AMMONIA, WATER), 2: ATOMS.encode(), 3: BAD.encode()}
SOURCES = tuple(
    qm9.Source(number, name, len(FILES[number]), hashlib.md5(FILES[number]).hexdigest())
    for number, name in ((1, "all.tar.bz2"), (2, "atoms.txt"), (3, "bad.txt"))
)


@pytest.fixture
def server():
    server = Server(FILES)
    yield server
    server.close()


def test_molecule_of_the_published_format():
    frame = qm9.parse_molecule(METHANE)
    assert frame.numbers.tolist() == [6, 1, 1, 1, 1]
    np.testing.assert_allclose(frame.positions[2], [1.0117308433, 1.4637511618, 2.1e-6], rtol=0, atol=1e-12)
    assert frame.energy == pytest.approx(-40.47893 * EV_PER_HARTREE, abs=1e-9)
    assert (frame.info["name"], frame.info["smiles"], frame.info["inchi"]) == ("gdb1", "C", "InChI=1S/CH4/h1H4")
    assert frame.info["homo_eV"] == pytest.approx(-0.3877 * EV_PER_HARTREE)
    assert frame.info["polarisability_bohr3"] == 13.21


@pytest.mark.parametrize("text", ["", "3\nC\n", METHANE.replace("gdb", "abc"), METHANE.replace("\t6.469", "")])
def test_other_text_is_refused(text):
    with pytest.raises((ValueError, IndexError)):
        qm9.parse_molecule(text)


def test_load(server, tmp_path):
    frames = read_frames(qm9.load(tmp_path, server.url, SOURCES, (3, 1)))
    assert [frame.info["name"] for frame in frames] == ["gdb1", "gdb2"]  # 3 is uncharacterised
    np.testing.assert_allclose(frames[1].energy, -56.525887 * EV_PER_HARTREE, atol=1e-8)
    energies = isolated_atoms({}, tmp_path / "isolated_atoms.extxyz", ["H", "C", "N"])
    atomisation = frames[0].energy - energies[1] - 4 * energies[0]
    assert atomisation == pytest.approx(-17.17, abs=0.01)  # eV, at 0 K with the zero-point energy
    asked = len(server.asked)
    qm9.load(tmp_path, server.url, SOURCES, (3, 1))
    assert len(server.asked) == asked  # all is there
    with pytest.raises(InputError, match=r"3 molecules with 1 uncharacterised.*wanted 133885 and 3054"):
        qm9.load(tmp_path, server.url, SOURCES)


@pytest.mark.parametrize("ranges", [True, False])
def test_interrupted_download_goes_on(tmp_path, ranges):
    server = Server(FILES, ranges)
    (tmp_path / "all.tar.bz2.part").write_bytes(FILES[1][:100])
    path = qm9.download(SOURCES[0], tmp_path, server.url)
    server.close()
    assert path.read_bytes() == FILES[1]
    assert server.asked == ["bytes=100-"]
    assert not path.with_name(path.name + ".part").exists()


def test_cut_download_goes_on_in_the_next_run(tmp_path):
    server = Server(FILES, limit=150)
    with pytest.raises(InputError, match=r"part of 150 bytes.*run again"):
        qm9.download(SOURCES[0], tmp_path, server.url)
    server.close()
    server = Server(FILES)
    qm9.download(SOURCES[0], tmp_path, server.url)
    server.close()
    assert server.asked == ["bytes=150-"]


def test_wrong_file_is_refused(server, tmp_path):
    other = SOURCES[0]._replace(md5="0" * 32)
    with pytest.raises(InputError, match=r"MD5 .*wanted .* MD5 0000.*run again"):
        qm9.download(other, tmp_path, server.url)
    assert not list(tmp_path.iterdir())
    (tmp_path / "all.tar.bz2").write_bytes(b"cut")
    with pytest.raises(InputError, match=r"all.tar.bz2 of 3 bytes.*delete it"):
        qm9.download(SOURCES[0], tmp_path, server.url)


def test_no_network_ends_in_one_line(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["qm9", str(tmp_path), "--url", "http://127.0.0.1:9"])
    with pytest.raises(SystemExit):
        entry(qm9.main)()
    message = capsys.readouterr().err
    assert message.startswith("error: got no answer from http://127.0.0.1:9/3195389")
    assert "dsgdb9nsd.xyz.tar.bz2" in message and message.count("\n") == 1


def test_broken_archive_names_the_file(tmp_path):
    path = tmp_path / "x.tar.bz2"
    path.write_bytes(archive(METHANE, METHANE.replace("gdb", "abc")))
    with pytest.raises(InputError, match=r"x.tar.bz2, dsgdb9nsd_000002.xyz: not a molecule of QM9"):
        list(qm9.molecules(path))
