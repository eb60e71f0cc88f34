"""`python -m sessionware` is the command line, for where the script is not on PATH."""

import sys

from sessionware.cli import main

if __name__ == "__main__":
    sys.exit(main())
