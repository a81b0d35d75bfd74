"""Rows to train on: the formats of a row, reading and checking files and tables of them."""
