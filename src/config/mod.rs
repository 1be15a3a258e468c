//! What is served, and where.

mod units;

pub use units::{UnitError, format_duration, format_size, parse_duration, parse_size};
