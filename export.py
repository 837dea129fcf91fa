"""Write the weights of a run into one file: python export.py --help"""

from diffjax.commands import export_command

if __name__ == "__main__":
    export_command.run()
