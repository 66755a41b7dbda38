"""Pure numerics on arrays: optics, correction, resolution, flux, sharpness, fits, spectra, columns, file formats.

Nothing here knows a control system. Modules are imported one by one (``from exitwave.analysis import
optics``), so that a device which needs the closed-form optics does not pay for compiled kernels or figures.
"""

__all__ = [
    "columns",
    "correction",
    "eds",
    "errors",
    "figures",
    "fitting",
    "flux",
    "io",
    "live",
    "optics",
    "registration",
    "resolution",
    "sharpness",
    "xanes",
]
