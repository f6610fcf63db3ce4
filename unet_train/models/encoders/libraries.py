"""Lazy imports of torchvision and timm, with one line of advice where they do not load."""

from types import ModuleType

from unet_train.errors import UserError


def torchvision_models() -> ModuleType:
    """``torchvision.models``.

    Raises
    ------
    UserError
        If torchvision is missing, or was built for another torch: it then fails with "operator
        torchvision::nms does not exist" while being imported.
    """
    try:
        import torchvision.models
    except (ImportError, RuntimeError, OSError) as error:
        raise UserError(
            f"torchvision cannot be imported ({_first_line(error)}): reinstall torch and torchvision "
            "together from one index (pip install --force-reinstall torch torchvision), or use encoder=unet"
        ) from error
    return torchvision.models


def timm_library() -> ModuleType:
    """``timm``, the extra.

    Raises
    ------
    UserError
        If it is not installed or does not load.
    """
    try:
        import timm
    except (ImportError, RuntimeError, OSError) as error:
        raise UserError(
            f"timm cannot be imported ({_first_line(error)}): encoder=timm needs the extra, "
            'pip install "unet-train[timm]"'
        ) from error
    return timm


def _first_line(error: BaseException) -> str:
    return str(error).strip().partition("\n")[0] or type(error).__name__
