from .samples import draw_samples

__all__ = ["draw_samples"]
