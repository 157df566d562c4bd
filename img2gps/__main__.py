"""`python -m img2gps`: the same as the command `img2gps`."""

from img2gps.cli.main import main

main()
