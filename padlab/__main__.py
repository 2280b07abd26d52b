"""`python -m padlab`: the same as the `padlab` command."""

from padlab.cli import main

if __name__ == "__main__":
    raise SystemExit(main())
