"""``python -m adaptsr_cli``, for torchrun and where the script is not on the path."""

from adaptsr_cli.cli.app import main

if __name__ == "__main__":
    main()
