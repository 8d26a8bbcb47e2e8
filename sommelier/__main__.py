"""``python -m sommelier``."""

from sommelier import main

main()
