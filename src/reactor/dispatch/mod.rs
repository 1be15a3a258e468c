//! Between the loop and the services: calls in, effects out.

pub(crate) mod calls;
mod fan_out;
pub(crate) mod host;
