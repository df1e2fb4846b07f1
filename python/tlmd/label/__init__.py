"""Labels of frames by DFT codes or any ASE calculator: one folder a frame, one job a frame (tlmd.label.label)."""
