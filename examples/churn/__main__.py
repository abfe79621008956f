"""`python -m examples.churn` runs the demo. Load clients import this file again, so it imports nothing at the top."""

if __name__ == "__main__":
    import sys

    from examples.churn.demo import main

    sys.exit(main())
