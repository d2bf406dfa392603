from .suspect import Suspect

__all__ = ["Suspect"]
