"""tl-campaign: production runs of models. config -> start (boxes), run (LAMMPS, md.in), parts -> results -> report."""
