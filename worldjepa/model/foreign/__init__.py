"""Published weights in our names and layout.

``read_foreign`` opens them; one file a format: ``transformers_folder.py`` (Hugging Face's VJEPA2),
``meta_file.py`` (V-JEPA, V-JEPA 2 and V-JEPA 2-AC as their authors publish them), ``timm_weights.py``. The
tables of names (``names.py``) are data and read both ways.
"""

from worldjepa.model.foreign.contents import Foreign, ForeignError, Report
from worldjepa.model.foreign.reading import TIMM, read_foreign

__all__ = ["TIMM", "Foreign", "ForeignError", "Report", "read_foreign"]
