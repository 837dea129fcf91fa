"""Numbers of images of sample.py, unless its flags say others."""

IMAGES_PER_CELL = 4  # of a sweep
EDITED_IMAGES = 8
TRAJECTORIES = 8
MAX_SINGLES = 1_000  # samples that are also written as single files, without --singles
