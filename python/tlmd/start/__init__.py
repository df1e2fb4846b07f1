"""The beginning of a project: force fields from SMILES, boxes, LAMMPS data files, folders of commented TOMLs."""
