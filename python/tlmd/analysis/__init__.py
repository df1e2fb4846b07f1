"""Density, diffusion and structure of LAMMPS runs, with errors, beside experiment.

Arrays in, value and error out: density.density, diffusion.diffusion_coefficient, structure.radial_distributions.
Files in, records and figures out: measure.measure_density, measure_diffusion, measure_structure; report.write_report.
"""
