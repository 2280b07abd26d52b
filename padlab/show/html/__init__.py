"""Model text as HTML that does nothing: the one escape function, and the tables and cards that use it."""

from padlab.show.html.bars import bars, legend
from padlab.show.html.cards import error_box, responses, side_by_side, token_heatmap
from padlab.show.html.safe import Html, escape, shorten, visible
from padlab.show.html.tables import table

__all__ = [
    "Html",
    "bars",
    "error_box",
    "escape",
    "legend",
    "responses",
    "shorten",
    "side_by_side",
    "table",
    "token_heatmap",
    "visible",
]
