"""The ANI-1x ensemble (Smith et al., J. Chem. Phys. 148, 241733, 2018) of torchani, as ani.toml names it."""

import torch
from torchani.models import ANI1x


def calculator():
    torch.set_num_threads(1)
    return ANI1x(periodic_table_index=True).ase()
