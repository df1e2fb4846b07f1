"""tlmd: transfer-learned potentials for LAMMPS.

cheap labels (tlmd.generate.driver) -> pretrain (tlmd.train.pretrain) -> fine-tune on DFT (tlmd.train.finetune)
-> export to TorchScript (tlmd.export) -> `mpirun lmp` with `pair_style tpainn` (lammps_plugin/)
-> density and diffusion against experiment (tlmd.analysis).
"""

__version__ = "0.1.0"
