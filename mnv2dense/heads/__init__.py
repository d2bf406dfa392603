"""What turns features into boxes, masks or classes."""

from mnv2dense.heads.ssdlite import SSDLiteHead as SSDLiteHead
