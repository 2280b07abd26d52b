"""Model text as HTML that does nothing: the one escape function, and the tables and cards that use it."""

from padlab.show.html.cards import responses, side_by_side, token_heatmap
from padlab.show.html.safe import Html, escape, shorten, visible
from padlab.show.html.tables import table

__all__ = [
    "Html",
    "escape",
    "responses",
    "shorten",
    "side_by_side",
    "table",
    "token_heatmap",
    "visible",
]
