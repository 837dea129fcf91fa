"""Colour emoji by what their Unicode names say, with combinations of person and modifier that training does not see."""
