r"""Pictures of any source and size with captions: what configs/pictures.py chooses, and a net that reads text.

python train.py --config configs/captions.py --workdir runs/mine \
    --config.data.name=folder:PATH --config.data.image_size=32
python sample.py --workdir runs/mine --out out --prompt "a grey cat asleep" --guidance 2

Captions are the column `text` of metadata.jsonl or metadata.csv, or a .txt beside each picture (docs/your-pictures.md).
"""

from dataclasses import replace

from configs import pictures
from diffjax.experiment.config import Config


def get_config() -> Config:
    """The config of pictures, with the caption as the condition; a tenth of the examples goes without, for guidance."""
    config = pictures.get_config()
    data = replace(config.data, parts=("feature('text')",))
    return replace(config, data=data, model=replace(config.model, conditions=("Text()",)))
