"""Training and generating from files alone: no server, no database, the jobs' own functions."""
