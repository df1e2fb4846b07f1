"""Outputs of programs that are not at hand, written as these write them: the lines that carry structure and labels.

Numbers are those of the frames given, none is a result of the program. `smearing` (eV) is added to the free energy for
the energy of the entropy-free extrapolation.
"""

import numpy as np
from ase.data import chemical_symbols
from ase.units import Bohr, GPa, Hartree, Ry


def rows(values, form: str = "%16.9f") -> str:
    return "\n".join("".join(form % x for x in row) for row in np.atleast_2d(values)) + "\n"


def symbols_of(frame) -> list[str]:
    return [chemical_symbols[z] for z in frame.numbers]


def outcar(frames, smearing=0.0, converged=True) -> str:
    kinds = list(dict.fromkeys(symbols_of(frames[0])))
    counts = [symbols_of(frames[0]).count(kind) for kind in kinds]
    text = " vasp.6.3.0 18Jan22 (build) complex\n\n"
    text += "".join(f" POTCAR:    PAW_PBE {kind} 08Apr2002\n" for kind in kinds) * 2
    text += (
        "   k-points           NKPTS =      1   k-points in BZ     NKDIM =      1   number of bands    NBANDS=      8\n"
    )
    text += "   ISPIN  =      1    spin polarized calculation?\n"
    text += "   ions per type =     " + "".join(f"{count:8d}" for count in counts) + "\n"
    text += " k-points in reciprocal lattice and weights: Gamma\n   0.00000000  0.00000000  0.00000000       1.000\n"
    for step, frame in enumerate(frames, start=1):
        stress = -frame.stress / GPa * 10  # kB, compressed positive
        text += f"--------------------------------------- Iteration {step:6d}(   1)  ------------------------\n"
        done = "because EDIFF is reached" if converged else "EDIFF was not reached (unconverged)"
        text += f"------------------------ aborting loop {done} ----------------------------------------\n"
        text += "  FORCE on cell =-STRESS in cart. coord.  units (eV):\n"
        text += "  in kB  " + "".join(f"{x:14.7f}" for x in stress[[0, 1, 2, 0, 1, 2], [0, 1, 2, 1, 2, 0]]) + "\n"
        text += "  external pressure =      0.00 kB  Pullay stress =        0.00 kB\n"
        text += " VOLUME and BASIS-vectors are now :\n"
        text += "      direct lattice vectors                 reciprocal lattice vectors\n"
        text += rows(np.hstack([frame.cell, np.linalg.inv(frame.cell).T]))
        text += " POSITION                                       TOTAL-FORCE (eV/Angst)\n " + "-" * 83 + "\n"
        text += rows(np.hstack([frame.positions, frame.forces])) + " " + "-" * 83 + "\n"
        text += (
            "  FREE ENERGIE OF THE ION-ELECTRON SYSTEM (eV)\n  ---------------------------------------------------\n"
        )
        text += f"  free  energy   TOTEN  = {frame.energy:18.8f} eV\n\n"
        text += f"  energy  without entropy={frame.energy:18.8f}  energy(sigma->0) ={frame.energy + smearing:18.8f}\n"
    return text + " General timing and accounting informations for this job:\n"


def vasprun(frames, smearing=0.0, converged=True) -> str:
    atoms = "".join(f"<rc><c>{symbol}</c><c>1</c></rc>" for symbol in symbols_of(frames[0]))

    def array(name, values):
        lines = "".join("<v>" + "".join(f" {x:16.9f}" for x in row) + " </v>\n" for row in values)
        return f'<varray name="{name}" >\n{lines}</varray>\n'

    def structure(frame, name=""):
        scaled = frame.positions @ np.linalg.inv(frame.cell)
        crystal = f"<crystal>\n{array('basis', frame.cell)}</crystal>\n"
        return f"<structure{name}>\n{crystal}{array('positions', scaled)}</structure>\n"

    text = '<?xml version="1.0" encoding="ISO-8859-1"?>\n<modeling>\n'
    text += f"<kpoints>{array('kpointlist', [[0, 0, 0]])}{array('weights', [[1]])}</kpoints>\n"
    text += '<parameters><i type="int" name="NELM">    3</i></parameters>\n'
    text += f'<atominfo><array name="atoms"><set>{atoms}</set></array></atominfo>\n'
    text += structure(frames[0], ' name="initialpos"')
    for frame in frames:
        energy = (
            f'<energy><i name="e_fr_energy"> {frame.energy:.8f} </i><i name="e_wo_entrp"> {frame.energy:.8f} </i>'
            f'<i name="e_0_energy"> {frame.energy + smearing:.8f} </i></energy>\n'
        )
        text += "<calculation>\n" + f"<scstep>\n{energy}</scstep>\n" * (2 if converged else 3)
        text += structure(frame) + array("forces", frame.forces) + array("stress", -frame.stress / GPa * 10)
        text += energy + "</calculation>\n"
    return text + "</modeling>\n"


def espresso(frames, smearing=0.0, converged=True) -> str:
    first = frames[0]
    alat = np.linalg.norm(first.cell[0])
    text = "\n     Program PWSCF v.6.7MaX starts on 30Nov2026 at  7: 0: 0\n\n"
    text += f"     number of atoms/cell      = {len(first):12d}\n     number of atomic types    =            2\n\n"
    text += f"     celldm(1)= {alat / Bohr:11.6f}  celldm(2)=   0.000000  celldm(3)=   0.000000\n\n"
    text += "     crystal axes: (cart. coord. in units of alat)\n"
    for k, vector in enumerate(first.cell / alat, start=1):
        text += f"               a({k}) = (" + "".join(f" {x:11.8f}" for x in vector) + " )\n"
    text += "\n   Cartesian axes\n\n     site n.     atom                  positions (alat units)\n"
    for k, (symbol, place) in enumerate(zip(symbols_of(first), first.positions / alat, strict=True), start=1):
        text += f"     {k:5d}           {symbol:4s}tau({k:4d}) = (" + "".join(f" {x:12.8f}" for x in place) + "  )\n"
    for step, frame in enumerate(frames):
        if step:
            text += "\nCELL_PARAMETERS (angstrom)\n" + rows(frame.cell) + "\nATOMIC_POSITIONS (angstrom)\n"
            for symbol, place in zip(symbols_of(frame), frame.positions, strict=True):
                text += f"{symbol:4s}" + "".join(f"{x:16.9f}" for x in place) + "\n"
        text += "\n     Self-consistent Calculation\n"
        done = "convergence has been achieved in   9 iterations"
        text += f"\n!    total energy              = {frame.energy / Ry:18.10f} Ry\n"
        text += f"     {done if converged else 'convergence NOT achieved after 100 iterations: stopping'}\n"
        text += "\n     Forces acting on atoms (cartesian axes, Ry/au):\n\n"
        for k, force in enumerate(frame.forces / (Ry / Bohr), start=1):
            text += f"     atom {k:4d} type  1   force = " + "".join(f"{x:14.8f}" for x in force) + "\n"
        pressure = -frame.stress / (Ry / Bohr**3)
        text += "\n     Computing stress (Cartesian axis) and pressure\n\n"
        text += "          total   stress  (Ry/bohr**3)                   (kbar)     P=        0.00\n"
        text += rows(np.hstack([pressure, 0 * pressure]), "%14.9f")
    return text + "\n=------------------------------------------------------------------------------=\n   JOB DONE.\n"


def orca(frames, smearing=0.0, converged=True) -> str:
    text = "                                 *****************\n                                 * O   R   C   A *\n"
    for frame in frames[:1]:
        text += (
            "---------------------------------\nCARTESIAN COORDINATES (ANGSTROEM)\n---------------------------------\n"
        )
        for symbol, place in zip(symbols_of(frame), frame.positions, strict=True):
            text += f"  {symbol:4s}" + "".join(f"{x:14.8f}" for x in place) + "\n"
        text += f"\nNumber of atoms                             ... {len(frame):6d}\n"
        odd = "" if converged else "(Wavefunction not fully converged!)"
        text += f"\nFINAL SINGLE POINT ENERGY  {odd}  {frame.energy / Hartree:20.12f}\n"
        text += "\n------------------\nCARTESIAN GRADIENT\n------------------\n\n"
        for k, (symbol, force) in enumerate(zip(symbols_of(frame), frame.forces, strict=True), start=1):
            text += f"{k:4d}   {symbol:2s}  :" + "".join(f"{-x * Bohr / Hartree:16.9f}" for x in force) + "\n"
    return text + "\n                             ****ORCA TERMINATED NORMALLY****\n"


def aims(frames, smearing=0.0, converged=True) -> str:
    text = "------------------------------------------------------------\n          Invoking FHI-aims ...\n"
    text += "  | Number of spin channels           :        1\n"
    text += f"  The structure contains       {len(frames[0])} atoms,  and a total of         10.000 electrons.\n"
    text += f"  | Number of atoms                   :        {len(frames[0])}\n  | Number of k-points   :        1\n"
    text += "  Occupation type: Gaussian broadening, width =   0.100000E-01 eV.\n"
    text += "  Reducing total number of  Kohn-Sham states to        8.\n"
    text += "  | Unit cell:\n" + "".join("  |" + "".join(f"{x:16.8f}" for x in row) + "\n" for row in frames[0].cell)
    text += "  | Atomic structure:\n  |       Atom                x [A]            y [A]            z [A]\n"
    for k, (symbol, place) in enumerate(zip(symbols_of(frames[0]), frames[0].positions, strict=True), start=1):
        text += f"  |{k:5d}: Species {symbol:10s}" + "".join(f"{x:17.8f}" for x in place) + "\n"
    text += "  Molecular dynamics time step\n"
    for step, frame in enumerate(frames):
        text += f"  Begin self-consistency loop: {'Re-i' if step else 'I'}nitialization.\n"
        text += "          Begin self-consistency iteration #    1\n"
        text += f"  Self-consistency cycle {'' if converged else 'not '}converged.\n"
        text += f"  | Total energy uncorrected      : {frame.energy + smearing / 2:20.8f} eV\n"
        text += f"  | Total energy corrected        : {frame.energy + smearing:20.8f} eV\n"
        text += f"  | Electronic free energy        : {frame.energy:20.8f} eV\n"
        text += "  Total atomic forces (unitary forces cleaned) [eV/Ang]:\n"
        text += "".join(
            f"  |{k:5d}" + "".join(f"{x:25.12f}" for x in force) + "\n" for k, force in enumerate(frame.forces, 1)
        )
        if step == len(frames) - 1:
            text += "  +-------------------------------------------------------------------+\n"
            text += "  |              Analytical stress tensor - Symmetrized               |\n"
            text += "  |                  Cartesian components [eV/A**3]                   |\n"
            text += "  +-------------------------------------------------------------------+\n"
            text += "  |                x                y                z                |\n"
            text += "  |                                                                   |\n"
            for axis, row in zip("xyz", frame.stress, strict=True):
                text += f"  |  {axis}  " + "".join(f"{x:17.8f}" for x in row) + "             |\n"
        text += "  Atomic structure (and velocities) as used in the preceding time step:\n"
        for vector in frame.cell:
            text += "  lattice_vector   " + "".join(f"{x:16.8f}" for x in vector) + "\n"
        for symbol, place in zip(symbols_of(frame), frame.positions, strict=True):
            text += "            atom   " + "".join(f"{x:16.8f}" for x in place) + f"  {symbol}\n"
    return text + "          Have a nice day.\n------------------------------------------------------------\n"


def gpaw(frames, smearing=0.0, converged=True) -> str:
    text = "\n  ___ ___ ___ _ _ _  \n |   |   |_  | | | | \n | | | | | . | | | | \n"
    text += " |__ |  _|___|_____|  22.8.0\n |___|_|             \n\nTotal charge: 0.000000 \n\n"
    text += "1 k-point: 1 x 1 x 1 Monkhorst-Pack grid\n1 k-point in the irreducible part of the Brillouin zone\n"
    for frame in frames:
        text += "\nPositions:\n"
        for k, (symbol, place) in enumerate(zip(symbols_of(frame), frame.positions, strict=True)):
            text += f"{k:4d} {symbol:2s} " + "".join(f"{x:16.8f}" for x in place) + "    ( 0.0000,  0.0000,  0.0000)\n"
        text += "\nUnit cell:\n           periodic     x           y           z      points  spacing\n"
        for k, vector in enumerate(frame.cell, start=1):
            text += f"  {k}. axis:    yes " + "".join(f"{x:14.8f}" for x in vector) + "    24     0.2000\n"
        text += "\nDid not converge!\n" if not converged else "\nConverged after 12 iterations.\n"
        text += "\nEnergy contributions relative to reference atoms: (reference = -2041.000000)\n\n"
        text += "Kinetic:        +11.000000\nEntropy (-ST):   -0.000000\n--------------------------\n"
        text += f"Free energy:   {frame.energy:+.8f}\nExtrapolated:  {frame.energy + smearing:+.8f}\n"
        text += "\nForces in eV/Ang:\n"
        for k, (symbol, force) in enumerate(zip(symbols_of(frame), frame.forces, strict=True)):
            text += f"{k:3d} {symbol:2s} " + "".join(f"{x:14.8f}" for x in force) + "\n"
        text += "\nStress tensor:\n" + rows(frame.stress, "%14.8f")
    return text + "\nTiming:                              incl.     excl.\n" + "-" * 59 + "\n"
