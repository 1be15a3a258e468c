//! video: shows the frames of one publisher to every viewer.

pub mod frames;
