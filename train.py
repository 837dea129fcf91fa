"""Train a model, or resume a run: python train.py --help"""

from diffjax.commands import train_command

if __name__ == "__main__":
    train_command.run()
