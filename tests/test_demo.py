"""tl-demo, shortened: every stage runs for real and leaves the files and keys of the contract."""

from __future__ import annotations

import json
import subprocess
import sysconfig
from pathlib import Path

import pytest

from tlmd.demo import Size, Workflow
from tlmd.modelfile import read_card

SCRIPT = Path(sysconfig.get_path("scripts")) / "tl-demo"


@pytest.mark.skipif(not SCRIPT.exists(), reason="needs the installed console scripts")
def test_the_complete_workflow(tmp_path):
    out = tmp_path / "demo"
    command = [SCRIPT, "--out", out, "--steps", "6", "--frames", "2", "--md-minutes", "5", "--md-steps", "400"]
    command += ["--classical-frames", "40", "--classical-steps", "200"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stdout + done.stderr
    for name in ("classical", "scratch", "finetuned"):
        assert read_card(out / name / "model.pt").elements == ["H", "O"]
    assert read_card(out / "finetuned" / "model-lammps.pt").level_of_theory == "revPBE0-D3 (CP2K)"
    records = json.loads((out / "results.json").read_text())
    keys = "quantity value standard_error unit experiment experiment_error deviation_percent temperature_K source"
    assert all(list(record)[:9] == keys.split() for record in records)
    assert {"density", "diffusion coefficient"} <= {record["quantity"] for record in records}
    page = (out / "report.html").read_text()
    assert "data:image/png;base64," in page and "fine-tuned (T-PaiNN)" in page
    assert "fine-tuned (T-PaiNN)" in done.stdout and "report.html" in done.stdout
    loses_only_what_failed(out)


def loses_only_what_failed(out):
    """One run without a usable log costs its own results alone."""
    (out / "md" / "diffusion.log").write_text("LAMMPS\n")
    workflow = Workflow(out, Size(6, 2, 40, 200, 5.0, 400), from_scratch=False)
    assert {record["quantity"] for record in workflow.analyse().records} == {"density"}
    assert list(workflow.failed) == ["diffusion"] and "no result" in workflow.failed["diffusion"]
