"""tl-learn: a potential asks for its labels. config -> learn (the rounds) -> dynamics (LAMMPS), properties, report."""
