"""The program `mdkd`, also called by ``python -m mdkd``."""

from mdkd import faults


def main() -> int:
    """Run the command line. Signals are handled from here on, also while modules are loaded."""
    faults.prepare_process()
    try:
        from mdkd import cli
    except KeyboardInterrupt as error:
        return faults.report(error)
    try:
        return cli.main()
    finally:
        faults.flush()


if __name__ == "__main__":
    raise SystemExit(main())
