"""Files that are copied into exports and run there without img2gps.

They import only what their first line says, never another module of img2gps. Exporting fills in
their constants.
"""
