"""Work on the devices: batches over them, steps in one compiled call, and data-parallel training by pmap."""
