import sys

# httpx brings a command line of its own, and all that draws it: a twentieth of a second that no run needs.
sys.modules.setdefault("httpx._main", None)  # type: ignore[arg-type]
