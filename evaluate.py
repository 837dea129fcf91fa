"""Score a trained model, score images from files, or compare runs: python evaluate.py --help"""

from diffjax.commands import evaluate_command

if __name__ == "__main__":
    evaluate_command.run()
