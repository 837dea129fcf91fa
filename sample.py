"""Sample from a trained model, or edit images with it: python sample.py --help"""

from diffjax.commands import sample_command

if __name__ == "__main__":
    sample_command.run()
