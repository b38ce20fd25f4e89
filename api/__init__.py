"""How the world reaches the directory. Everything that knows of HTTP is in here, and nothing else."""
