//! Python's `selectors` over mio.
