"""Properties of LAMMPS runs, with errors, beside experiment and level of theory.

trajectory, thermo, stress: dumps, logs and pressure tensors as arrays. greenkubo: integrals of autocorrelations.
simulation: one run. properties: one file an analysis, each with its arithmetic on arrays (density.density,
diffusion.diffusion_coefficient, structure.radial_distributions) and a class that
`registry.register` makes a command. registry.measure(NAME, Simulation(dump, log)): records and figures. reference: what
is known of some liquids. report.write_report: one HTML file.
"""
