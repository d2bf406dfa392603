from .choice import Budget, Candidate, Choice, NothingFitsError
from .networks import Network
from .prediction import Estimate, Prices
from .table import Setting, Table

__all__ = [
    "Budget",
    "Candidate",
    "Choice",
    "Estimate",
    "Network",
    "NothingFitsError",
    "Prices",
    "Setting",
    "Table",
]
