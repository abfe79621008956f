"""`python -m examples.churn` is the demo. Load clients import this file again: it imports nothing before it is run."""

if __name__ == "__main__":
    import sys

    from examples.churn.demo import main

    sys.exit(main())
