"""What beats what: scores with intervals, floors and ceilings, and what becomes of them on another survey."""
