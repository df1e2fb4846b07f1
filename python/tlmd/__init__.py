"""tlmd: transfer-learned potentials for LAMMPS.

classical labels (tlmd.data.classical) -> pretrain (tlmd.train.loop) -> autotune on a little DFT (tlmd.train.transfer)
-> export to TorchScript (tlmd.export) -> `mpirun lmp` with `pair_style tpainn` (lammps_plugin/)
-> density and diffusion against experiment (tlmd.analysis).
"""

__version__ = "0.1.0"
