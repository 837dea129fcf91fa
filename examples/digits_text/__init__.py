"""Digits by what is said of them: a grammar of captions, a data set and parts of conditions, brought by import path."""
